//! What the formatter makes of texts by hand; the corpora are in `tests/texts/format.rs`.

use super::{Refused, format, one_line};

fn of(text: &str) -> String {
    let formatted = format("t.lbp", text).expect("it parses");
    assert_eq!(format("t.lbp", &formatted).expect("it parses"), formatted, "twice is once");
    formatted
}

fn pool(settings: &str) -> String {
    format!("lbp 1\npool p {{ {settings} }}\n")
}

#[test]
fn blanks_and_indentation() {
    let text = "\u{feff}  lbp   1\r\n\n\n\n\npolicy   p{default drop;}=\nmatch{\n\nsrc in{10.0.0.0/8,::1}and(proto==tcp)->count n->drop;\n   # why\n\n\n  else->pass\n\n }";
    assert_eq!(
        of(text),
        "lbp 1\n\npolicy p { default drop } =\n  match {\n    src in { 10.0.0.0/8, ::1 } and (proto == tcp) -> count n -> drop\n    # why\n\n    else -> pass\n  }\n"
    );
}

#[test]
fn arrows_of_arms_that_follow_each_other_are_level() {
    let text = "lbp 1\ntree t = match {\nto web -> a\n# about dns\nto dns and proto == udp -> b # here\nelse -> c  # there\n}\n";
    assert_eq!(
        of(text),
        "lbp 1\ntree t = match {\n  to web                  -> a\n  # about dns\n  to dns and proto == udp -> b  # here\n  else                    -> c  # there\n}\n"
    );
}

#[test]
fn an_arm_of_several_lines_stands_alone() {
    let text = "lbp 1\ntree t =\n match {\n  a -> x\n  src in bad\n or src in worse\n -> limit l (exceed -> drop)\n -> pass\n  longer -> every 2 {\n 1 -> x\n 10 -> y\n }\n  else -> z\n }\n";
    assert_eq!(
        of(text),
        "lbp 1\ntree t =\n  match {\n    a -> x\n    src in bad\n      or src in worse\n      -> limit l (exceed -> drop)\n      -> pass\n    longer -> every 2 {\n      1  -> x\n      10 -> y\n    }\n    else -> z\n  }\n"
    );
}

#[test]
fn declarations_that_follow_each_other_are_level() {
    let text = "lbp 1\nlimit a { rate 5 pkt/s;  burst 5 }\nlimit bbb { rate 500 pkt/s; burst 5 }\ntrack cc { max 5 }\nset s:net from \"a\"   max 5\nset ttt : net from \"bbb\" max 500\nconst a = 1\nconst bb = 2\n";
    assert_eq!(
        of(text),
        "lbp 1\nlimit a   { rate 5 pkt/s;   burst 5 }\nlimit bbb { rate 500 pkt/s; burst 5 }\ntrack cc  { max 5 }\nset s   : net from \"a\"   max 5\nset ttt : net from \"bbb\" max 500\nconst a  = 1\nconst bb = 2\n"
    );
}

#[test]
fn steps_are_columns_where_the_author_padded_one() {
    let plain = "lbp 1\nexpect \"e\" {\n packet icmp echo-request src a dst lb => drop\n packet tcp syn src aaaa:1 dst lb:80 => pass\n}\n";
    assert_eq!(
        of(plain),
        "lbp 1\nexpect \"e\" {\n  packet icmp echo-request src a dst lb => drop\n  packet tcp syn src aaaa:1 dst lb:80   => pass\n}\n"
    );
    let padded = plain.replace("tcp syn src", "tcp syn  src");
    assert_eq!(
        of(&padded),
        "lbp 1\nexpect \"e\" {\n  packet icmp echo-request src a      dst lb    => drop\n  packet tcp  syn          src aaaa:1 dst lb:80 => pass\n}\n"
    );
}

/// A protocol left out, and the addresses the other way round: whatever becomes of the columns, once is enough.
#[test]
fn steps_in_another_order_are_formatted_once() {
    for odd in [
        "packet  src 192.0.2.1:1 dst 192.0.2.2:2 ttl 3",
        "packet tcp  dst 192.0.2.2:2  src 192.0.2.1:1 ttl 3",
    ] {
        let text = format!(
            "lbp 1\nexpect \"x\" {{\n  {odd} => drop\n  packet udp src 192.0.2.1:1 dst 192.0.2.222:2 ttl 3 => drop\n}}\n"
        );
        let once = of(&text);
        assert_eq!(of(&once), once);
    }
}

#[test]
fn settings_that_are_too_wide_get_a_line_each() {
    let backends: Vec<String> = (0..5).map(|n| format!("backend number{n} 10.0.0.{n}")).collect();
    let opened = of(&pool(&backends.join("; ")));
    assert_eq!(opened, format!("lbp 1\npool p {{\n  {}\n}}\n", backends.join("\n  ")));
    assert_eq!(of(&pool("via nat; backend a 10.0.0.1")), pool("via nat; backend a 10.0.0.1"));
}

#[test]
fn a_text_that_does_not_parse_is_told_and_left_alone() {
    let Err(Refused::Unread { diagnostics, .. }) = format("t.lbp", "lbp 1\ntree t = match {\n") else {
        panic!("it is refused");
    };
    assert_eq!(diagnostics[0].code, "E0104");
}

#[test]
fn a_line_of_many_words_takes_no_longer_than_many_lines() {
    let arms: String = (0..5_000).map(|n| format!("tcp.dport == {n} -> drop; ")).collect();
    let start = std::time::Instant::now();
    of(&format!("lbp 1\npolicy p = match {{ {arms}else -> pass }}\n"));
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_keyword_in_column_1_starts_an_item_whatever_the_line_before_ends_in() {
    let text = "lbp 1\nside a when src in not\nside b otherwise\n";
    assert_eq!(of(text), text);
    let text = "lbp 1\ntree t =\n  limit l (exceed -> drop)\n    -> track\n    -> drop\nconst when = 5\nconst b = when\nconst c = 6\n";
    assert_eq!(of(text), text.replace("const b =", "const b    =").replace("const c =", "const c    ="));
}

#[test]
fn a_colon_is_a_sign_where_the_kind_of_a_set_stands_behind_it() {
    for text in ["set a::", "set a: :b", "set a ::x", "set a:", "set a : net: x", "set a :9", "set a b:f"] {
        let text = format!("lbp 1\n{text}\n");
        assert_eq!(of(&text), text);
    }
    assert_eq!(of("lbp 1\nset a:net from b\n"), "lbp 1\nset a : net from b\n");
}

#[test]
fn a_guard_on_one_line_is_spaced_as_formatted() {
    let written =
        "not ( src not   in {10.0.0.0/8 ,\n 192.0.2.1} ) # why\n and tcp.flags  ==syn or sni in \"#.a  b\"";
    let line = one_line(written);
    assert_eq!(line, "not (src not in { 10.0.0.0/8, 192.0.2.1 }) and tcp.flags == syn or sni in \"#.a  b\"");
    assert_eq!(one_line(&line), line);
}
