//! What is said of arms and items as other firewalls write them. Never the findings of chosen files, which have snapshots.

use std::path::Path;

use policy_lang::source::Loader;

struct Nothing;

impl Loader for Nothing {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// Code and cure of the first error.
fn first(text: String) -> (String, String) {
    let checked = policy_lang::check("p.lbp", text, &Nothing);
    let one = checked.diagnostics.into_iter().next().expect("something is wrong");
    (one.code.to_owned(), one.help.unwrap_or_default())
}

#[test]
fn an_arm_is_mended_by_what_was_meant() {
    let of = |arm: &str| {
        first(format!(
            "lbp 1\nlimit calm {{ rate 5 pkt/s; burst 5 }}\nset s : net = {{ 192.0.2.1 }}\ntree t = drop\n\
             policy p {{ default drop }} =\n  match {{\n    {arm}\n    else -> t\n  }}\n"
        ))
    };
    for (arm, code, cure) in [
        ("if tcp.dport == 22 -> drop", "E0108", "a guard stands alone: `tcp.dport == 80 -> drop`"),
        ("tcp.dport 80 -> drop", "E0108", "write `tcp.dport == 80`"),
        ("src 10.0.0.0/8 -> drop", "E0108", "write `src in 10.0.0.0/8`"),
        ("src { 10.0.0.1 } -> drop", "E0108", "write `src in { … }`"),
        ("tcp.dport is 80 -> drop", "E0108", "values are compared with `==`, `!=`, `in` and `not in`"),
        ("not in s -> drop", "E0108", "say of what: `src in s`"),
        ("tcp.dport in 80, 443 -> drop", "E0108", "several values stand in braces: `in { 80, 443 }`"),
        (
            "tcp.dport == 80, 443 -> drop",
            "E0108",
            "several values stand in braces: `in { 80, 443 }`, and `==` with one: `== 80`",
        ),
        ("* -> drop", "E0108", "the arm that takes what is left is `else -> …`"),
        (
            "-> drop",
            "E0108",
            "a guard is due in front of the `->`; the arm that takes what is left is `else -> …`",
        ),
        ("any -> drop", "E0209", "the arm that takes what is left is `else -> …`"),
        ("udp -> drop", "E0209", "write `proto == udp`"),
        ("ttl == 1: drop", "E0108", "write `->` instead of the colon"),
        (
            "ttl == 1 -> limit calm {exceed -> drop} -> pass",
            "E0108",
            "exits stand in round brackets: `limit NAME (exceed -> drop)`",
        ),
        ("ttl == 1 -> limit calm (exceed: drop) -> pass", "E0108", "write `->` instead of the colon"),
        ("ttl == 1 -> goto t", "E0211", "the name leads there alone: `-> t`"),
        ("ttl == 1 -> accept", "E0211", "`pass` gives the packet to this host, `forward` sends it on"),
        (
            "ttl == 1 -> DENY",
            "E0211",
            "`drop` ends the packet without a word, `reject` answers that it was refused",
        ),
        (
            "ttl == 1 -> count x -> return",
            "E0211",
            "a packet never goes back up the tree: end the chain, or name a tree",
        ),
    ] {
        assert_eq!(of(arm), (code.to_owned(), cure.to_owned()), "{arm}");
    }
}

#[test]
fn an_item_that_cannot_be_read_is_shown_as_it_is_written() {
    let of = |item: &str| first(format!("lbp 1\n{item}\npolicy p {{ default drop }} = drop\n")).1;
    let set = "write `set NAME : net = { … }`, `set NAME : net from \"FILE\" max N` or `set NAME : addr dynamic max N ttl 10m`";
    for (item, cure) in [
        ("set s net = { 192.0.2.1 }", set),
        ("set s : net { 192.0.2.1 }", set),
        ("side b { src in 10.0.0.0/8 }", "write `side NAME when GUARD`, or `side NAME otherwise`"),
        ("tree t { drop }", "write `tree NAME = …`"),
        ("const a 192.0.2.1", "write `const NAME = VALUE, …`"),
        ("vip v { address 192.0.2.1/32 }", "write one address, such as 192.0.2.1 or 2001:db8::1"),
        ("vip v { address 192.0.2.1/24 }", "write one address, such as 192.0.2.1 or 2001:db8::1"),
    ] {
        assert_eq!(of(item), cure, "{item}");
    }
    assert_eq!(
        first("lbp 1\npolicy p { default drop }\n  drop\n".to_owned()).1,
        "write `policy NAME { default drop } = …`"
    );
}
