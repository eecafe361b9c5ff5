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
    assert_eq!(asked_for(&body), Some(Hello::Unnamed));
    let other = [&body[..], &[0, 4, 0, 10, 0, 0]].concat();
    assert_eq!(asked_for(&other), Some(Hello::Unnamed));
}
