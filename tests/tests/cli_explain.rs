//! Owns what `lbctl explain` says about packets, on their own and one after another.
//! Never what becomes of them: the evaluator decides that.

use lb_tests::cli::Desk;

const POLICY: &str = "\
lbp 1
set bogons : net = { 10.0.0.0/8, 192.0.2.0/24 }
vip web { address 203.0.113.80; ports tcp 80 }
pool app { pick round-robin; via nat; source 10.0.0.1; ports 1000-1999; backend a1 10.0.0.11:8080 }
track conns { idle tcp 5m; max 64 }
limit calm { per src v4 /24 v6 /64; rate 10 syn/s; burst 2; max 1_000 }
side inside when src in app
side outside otherwise
policy p { default drop } =
  match {
    from inside                                    -> translate back -> forward
    src in bogons                                  -> drop
    to web and not (tcp.flags == fin or ttl == 1)  -> limit calm (exceed -> count flood -> drop) -> web_tree
    else                                           -> pass
  }
tree web_tree = track conns -> translate app (empty -> drop) -> forward
";

fn desk() -> Desk {
    Desk::new(&[("p.lbp", POLICY)])
}

fn explain(packets: &[&str]) -> lb_tests::cli::Ran {
    desk().lbctl(&[&["explain", "p.lbp"], packets].concat())
}

#[test]
fn the_value_that_decided_stands_beside_each_guard() {
    insta::assert_snapshot!(explain(&["packet udp src 192.0.2.1:5 dst 203.0.113.80:80"]));
}

#[test]
fn a_connection_is_followed_there_and_back() {
    insta::assert_snapshot!(explain(&[
        "packet tcp syn src 198.51.100.7:40000 dst web:80 seq 1",
        "after 20ms; packet tcp syn-ack src a1:8080 dst 10.0.0.1:1000 seq 9 ack 2",
    ]));
}

#[test]
fn a_flood_and_an_exit_that_is_not_written_are_told_once_each() {
    insta::assert_snapshot!(explain(&[
        "packet tcp syn src 198.51.100.7:40000 dst web:80 * 9",
        "packet tcp ack src 198.51.100.9:40000 dst web:80",
    ]));
}

#[test]
fn programs_get_json() {
    insta::assert_snapshot!(explain(&["packet tcp syn src 192.0.2.1:5 dst web:80", "--json"]));
}

#[test]
fn a_frame_that_never_reaches_the_tree_is_told_with_the_setting() {
    let hex = "ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 08:00 45";
    insta::assert_snapshot!(explain(&["--hex", hex]));
    insta::assert_snapshot!(explain(&["--hex", "0x"]));
}

/// A capture by hand: header, then each frame with its time in seconds (draft-ietf-opsawg-pcap).
fn pcap(link: u32, frames: &[(u32, &[u8], usize)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
        file.extend(word.to_le_bytes());
    }
    for (time, frame, whole) in frames {
        for word in [*time, 0, frame.len() as u32, *whole as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*frame);
    }
    file
}

#[test]
fn a_capture_is_told_at_its_own_times() {
    let desk = desk();
    let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    desk.write("a.pcap", pcap(1, &[(1000, &arp, 42), (1003, &arp[..20], 42)]));
    insta::assert_snapshot!(desk.lbctl(&["explain", "p.lbp", "--pcap", "a.pcap"]));
    desk.write("raw.pcap", pcap(101, &[]));
    insta::assert_snapshot!(desk.lbctl(&["explain", "p.lbp", "--pcap", "raw.pcap"]));
    insta::assert_snapshot!(desk.lbctl(&["explain", "p.lbp", "--pcap", "p.lbp"]));
}

#[test]
fn what_cannot_be_read_of_a_packet_is_placed_in_the_argument() {
    insta::assert_snapshot!(explain(&[
        "packet udp src 192.0.2.1:5 dst wbe:80",
        "packt",
        "--format",
        "short"
    ]));
    insta::assert_snapshot!(explain(&["after 2s"]));
    insta::assert_snapshot!(explain(&["packet udp src 192.0.2.1:5 dst web:80 => drop"]));
}

#[test]
fn a_policy_with_errors_is_not_explained() {
    let desk = Desk::new(&[("p.lbp", &POLICY.replace("-> pass", "-> pas"))]);
    let ran = desk.lbctl(&["explain", "p.lbp", "packet udp src 192.0.2.1:5 dst web:80", "--format", "short"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.ends_with("p.lbp: not explained: the policy has errors\n"), "{ran}");
}
