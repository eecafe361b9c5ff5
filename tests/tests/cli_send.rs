//! Owns `lbctl send` against servers on this host: what is in its packets, and what it says of replies.
//! Never a balancer.

use std::net::UdpSocket;
use std::time::Duration;

use compiler::packet::trailer;
use lb_abi::trailer::TRAILER_BYTES;
use lb_tests::cli::Desk;
use serde_json::Value;

/// What arrived, with `answer` sent back for each; it ends when `count` packets have come, or nothing for a while.
fn served(
    count: usize,
    answer: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> (String, std::thread::JoinHandle<Vec<Vec<u8>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = vec![0; 65_536];
        while seen.len() < count {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
            seen.push(buffer[..length].to_vec());
            if let Some(answer) = answer(seen.len() - 1, &buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
        seen
    });
    (address, thread)
}

fn desk() -> Desk {
    let desk = Desk::new(&[]);
    for args in [vec!["cert", "new", "device"], vec!["cert", "new", "bare", "--bare"]] {
        assert_eq!(desk.lbctl(&args).code, Some(0));
    }
    desk
}

/// Hash and point.
type Identity = (Vec<u8>, Vec<u8>);

fn identity(desk: &Desk, file: &str) -> Identity {
    let shown: Value = serde_json::from_str(&desk.lbctl(&["cert", "show", file, "--json"]).out).unwrap();
    let bytes = |name: &str| {
        let digits = shown[name].as_str().unwrap();
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    (bytes("hash"), bytes("point"))
}

#[test]
fn each_packet_is_signed_and_like_no_other() {
    let desk = desk();
    let (certified, bare) = (identity(&desk, "device.pem"), identity(&desk, "bare.pub"));
    let cases: [(&[&str], &Identity); 2] =
        [(&["--key", "device.key", "--cert", "device.pem"], &certified), (&["--key", "bare.key"], &bare)];
    for (args, (hash, point)) in cases {
        let (to, server) = served(3, |_, payload| Some(payload.to_vec()));
        let ran = desk.lbctl(&[&["send", "--id", "9", "--rate", "500", "--to", &to], args].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
        assert!(ran.out.contains("reply to 3 in ") && ran.out.contains("3 sent, 3 answered in "), "{ran}");
        assert!(ran.out.contains(" and a trailer\n"), "{ran}");
        let seen = server.join().unwrap();
        for packet in &seen {
            let (payload, trailer) = trailer(packet).expect("a trailer");
            assert!(payload.starts_with(b"lbctl "), "{payload:?}");
            assert_eq!((&trailer.hash[..], trailer.id, trailer.reserved), (&hash[..], 9, [0; 3]));
            assert!(trailer.is_signed_by(point, payload));
        }
        assert!(seen[0] != seen[1] && seen[1] != seen[2]);
    }
}

#[test]
fn faults_are_what_they_say() {
    let desk = desk();
    let (hash, point) = identity(&desk, "bare.pub");
    let send = |args: &[&str]| {
        let (to, server) = served(2, |_, _| Some(b"b1".to_vec()));
        let ran = desk.lbctl(&[&["send", "--count", "2", "--rate", "100", "--to", &to], args].concat());
        assert_eq!(ran.code, Some(0), "{ran}");
        server.join().unwrap()
    };
    for packet in send(&["--key", "bare.key", "--forge"]) {
        let (payload, trailer) = trailer(&packet).expect("a trailer");
        assert!(!trailer.is_signed_by(&point, payload));
        assert_eq!(trailer.hash[..], hash[..]);
    }
    for packet in send(&["--key", "bare.key", "--hash", &"ab".repeat(32)]) {
        let (payload, trailer) = trailer(&packet).expect("a trailer");
        assert!(trailer.is_signed_by(&point, payload));
        assert_eq!(trailer.hash, [0xab; 32]);
    }
    assert!(send(&["--no-trailer"]).iter().all(|packet| trailer(packet).is_none()));
    let replayed = send(&["--key", "bare.key", "--replay"]);
    assert_eq!(replayed[0], replayed[1]);
    let sized = send(&["--key", "bare.key", "--size", "1000"]);
    assert!(sized.iter().all(|packet| packet.len() == 1_000 + TRAILER_BYTES) && sized[0] != sized[1]);
    assert_eq!(send(&["--key", "bare.key", "--size", "0"])[0].len(), TRAILER_BYTES);
}

#[test]
fn what_is_lost_is_named_and_nothing_is_sent_again() {
    let desk = desk();
    let (to, server) = served(4, |number, _| (number % 2 == 0).then(|| b"b1 sees you\n".to_vec()));
    let args =
        ["send", "--key", "bare.key", "--count", "4", "--rate", "20", "--timeout", "300ms", "--to", &to];
    let ran = desk.lbctl(&args);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(
        ran.out.contains(", 11 bytes: b1 sees you\n") || ran.out.contains(", 12 bytes: b1 sees you\n"),
        "{ran}"
    );
    assert!(ran.out.trim_end().ends_with("; 2 lost (50.0 %): 2 4"), "{ran}");
    assert_eq!(server.join().unwrap().len(), 4);

    let (to, server) = served(3, |_, _| None);
    let ran = desk.lbctl(&["send", "--key", "bare.key", "--timeout", "100ms", "--to", &to, "--json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&told["sent"], &told["answered"], &told["lost"]),
        (&3.into(), &0.into(), &serde_json::json!([1, 2, 3]))
    );
    server.join().unwrap();
}

#[test]
fn what_cannot_be_sent_is_told_with_its_reason() {
    let desk = desk();
    let mut told = String::new();
    for args in [
        vec!["--key", "bare.key", "--to", "127.0.0.1"],
        vec!["--key", "bare.key", "--cert", "device.pem", "--to", "127.0.0.1:9"],
        vec!["--key", "bare.key", "--cert", "bare.pub", "--to", "127.0.0.1:9"],
        vec!["--key", "bare.key", "--to", "127.0.0.1:9", "--from", "::1"],
        vec!["--key", "bare.key", "--to", "127.0.0.1:9", "--from", "192.0.2.1"],
        vec!["--to", "127.0.0.1:9"],
    ] {
        told += &desk.lbctl(&[&["send"][..], &args].concat()).to_string();
    }
    insta::assert_snapshot!(told);
}
