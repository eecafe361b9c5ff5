use super::*;

/// The hello's record with each of these parts of its message in a record of its own.
fn split(name: &str, cuts: &[usize]) -> Vec<Vec<u8>> {
    let whole = hello(name);
    let body = &whole[RECORD_HEADER + MESSAGE_HEADER..];
    let ends = cuts.iter().copied().chain([body.len()]);
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let three = |number: usize| number.to_be_bytes()[5..].to_vec();
    starts
        .zip(ends)
        .map(|(start, end)| {
            let message = [
                &[CLIENT_HELLO][..],
                &three(body.len()),
                &[0, 0],
                &three(start),
                &three(end - start),
                &body[start..end],
            ]
            .concat();
            [&whole[..RECORD_HEADER - 2], &counted(2, &message)].concat()
        })
        .collect()
}

fn read(datagram: &[u8]) -> Hello {
    Hellos::of(MapperProtocol::Dtls).read(datagram)
}

#[test]
fn a_name_is_found_in_lower_case() {
    for (asked, found) in
        [("a.example", "a.example"), ("A.Example.", "a.example"), ("_x-1.example", "_x-1.example")]
    {
        assert_eq!(read(&hello(asked)), Hello::Named(found.to_owned()));
    }
    for bad in ["", ".", "a b", "é.example"] {
        assert_eq!(read(&hello(bad)), Hello::Broken, "{bad}");
    }
}

#[test]
fn a_hello_in_parts_is_put_together_in_any_order_over_records_and_datagrams() {
    let name = Hello::Named("a.example".to_owned());
    let parts = split("a.example", &[10, 50]);
    assert_eq!(read(&parts.concat()), name);
    let mut hellos = Hellos::of(MapperProtocol::Dtls);
    assert_eq!(hellos.read(&parts[2]), Hello::Partial);
    assert_eq!(hellos.read(&parts[2]), Hello::Partial);
    assert_eq!(hellos.read(&parts[0]), Hello::Partial);
    assert_eq!(hellos.read(&parts[1]), name);
}

#[test]
fn parts_that_do_not_agree_are_no_hello() {
    let (one, other) = (split("a.example", &[40]), split("b.example", &[40]));
    let mut hellos = Hellos::of(MapperProtocol::Dtls);
    assert_eq!(hellos.read(&one[1]), Hello::Partial);
    assert_eq!(hellos.read(&other[1]), Hello::Broken);
    let longer = split("aa.example", &[40]);
    let mut hellos = Hellos::of(MapperProtocol::Dtls);
    assert_eq!(hellos.read(&one[0]), Hello::Partial);
    assert_eq!(hellos.read(&longer[1]), Hello::Broken);
}

#[test]
fn what_is_no_hello_is_told_from_a_broken_one() {
    let whole = hello("a.example");
    assert_eq!(read(b""), Hello::Other);
    assert_eq!(read(b"GET / HTTP/1.1"), Hello::Other);
    let changed = |at: usize, byte: u8| {
        let mut hello = whole.clone();
        hello[at] = byte;
        read(&hello)
    };
    // Application data, another version, a later epoch, a server's hello.
    for (at, byte) in [(0, 23), (1, 3), (4, 1), (13, 2)] {
        assert_eq!(changed(at, byte), Hello::Other, "{at}");
    }
    assert_eq!(changed(12, whole[12] + 1), Hello::Broken);
    for end in RECORD_HEADER..whole.len() {
        assert_eq!(read(&whole[..end]), Hello::Broken, "{end}");
    }
    assert_eq!(changed(14, 1), Hello::Broken);
}

#[test]
fn a_hello_without_the_extension_asks_for_no_name() {
    let body = [&[0xfe, 0xfd][..], &[0; 32], &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]].concat();
    assert_eq!(asked_for(&body, true), Some(Hello::Unnamed));
    let other = [&body[..], &[0, 4, 0, 10, 0, 0]].concat();
    assert_eq!(asked_for(&other, true), Some(Hello::Unnamed));
}

/// A hello of TLS, which has no cookie, in the stream of a handshake.
fn stream(name: &str) -> Vec<u8> {
    let dtls = hello(name);
    let body = &dtls[RECORD_HEADER + MESSAGE_HEADER..];
    let body = [&body[..35], &body[36..]].concat();
    [&[CLIENT_HELLO][..], &counted(3, &body)].concat()
}

#[test]
fn quic_hellos_are_put_together_from_the_frames_of_initial_packets() {
    let (id, name) = ([7; 8], Hello::Named("a.example".to_owned()));
    let stream = stream("A.example");
    let crypto = |from: usize, to: usize| {
        let place =
            [0x06, 0x40 | (from >> 8) as u8, from as u8, 0x40 | ((to - from) >> 8) as u8, (to - from) as u8];
        [&place[..], &stream[from..to]].concat()
    };
    let read = |frames: &[Vec<u8>]| {
        let mut hellos = Hellos::of(MapperProtocol::Quic);
        let datagrams = (0..).zip(frames).map(|(number, frames)| quic::tests::initial(&id, number, frames));
        datagrams.map(|datagram| hellos.read(&datagram)).last().unwrap()
    };
    let all = crypto(0, stream.len());
    assert_eq!(read(std::slice::from_ref(&all)), name);
    // Behind padding, a ping and an acknowledgement, and in parts that come the wrong way round.
    let ack = [0x02, 5, 0, 1, 2, 0, 1];
    let mixed = [&[0, 0, 1][..], &ack, &crypto(40, stream.len()), &[0; 9], &crypto(0, 40)].concat();
    assert_eq!(read(&[mixed]), name);
    assert_eq!(read(&[crypto(30, stream.len())]), Hello::Partial);
    assert_eq!(read(&[crypto(30, stream.len()), crypto(0, 30)]), name);
    // Two packets in one datagram.
    let both = [
        quic::tests::initial(&id, 0, &crypto(30, stream.len())),
        quic::tests::initial(&id, 1, &crypto(0, 30)),
    ];
    assert_eq!(Hellos::of(MapperProtocol::Quic).read(&both.concat()), name);
    assert_eq!(read(&[vec![0x1f; 40]]), Hello::Broken);
    // DTLS is not QUIC.
    assert_eq!(Hellos::of(MapperProtocol::Quic).read(&hello("a.example")), Hello::Other);
}

#[test]
fn a_quic_packet_that_is_not_authentic_is_broken_and_another_version_none() {
    let whole = quic::tests::initial(
        &[7; 8],
        0,
        &[&[6, 0, 0x40, 100][..], &stream("a.example")[..], &[0; 90]].concat(),
    );
    let read = |at: usize, bit: u8| {
        let mut packet = whole.clone();
        packet[at] ^= bit;
        Hellos::of(MapperProtocol::Quic).read(&packet)
    };
    for at in [6, 30, whole.len() - 1] {
        assert_eq!(read(at, 1), Hello::Broken, "{at}");
    }
    assert_eq!(read(4, 2), Hello::Other);
    assert_eq!(read(0, 0x80), Hello::Other);
    for end in 0..whole.len() {
        let cut = Hellos::of(MapperProtocol::Quic).read(&whole[..end]);
        assert!(matches!(cut, Hello::Other | Hello::Broken), "{end}");
    }
}
