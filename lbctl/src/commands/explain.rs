//! Owns `lbctl explain`: which packets are asked about, and what became of each, as text or as JSON.
//! Never runs a packet itself.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compiler::eval::{StepKind, Verdict};
use compiler::explain::{Answer, Question, explain};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use policy_lang::policy::Step;
use policy_lang::source::Span;
use serde_json::{Value, json};

use crate::args::{Format, FormatArgs};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::findings::places::Places;
use crate::policy_file::PolicyFile;
use crate::table::{columns, short};
use crate::way::{self, at};
use crate::{files, findings};

#[derive(clap::Args, Debug)]
#[command(
    about = "Tell what would happen to a packet: its way, what decided, and what it leaves as",
    long_about = LONG,
    after_help = EXAMPLES
)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Packets as expect blocks write them, without `=> …`; also `given …` and `after …`.
    #[arg(value_name = "PACKET", required_unless_present_any = ["hex", "pcap"])]
    pub packets: Vec<String>,
    /// An Ethernet frame in hexadecimal digits, with or without blanks and colons; may be repeated.
    #[arg(long, value_name = "DIGITS")]
    pub hex: Vec<String>,
    /// The Ethernet frames of a capture (pcap), at their times; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub pcap: Vec<PathBuf>,
    #[command(flatten)]
    pub format: FormatArgs,
}

const LONG: &str = "\
Tell what would happen to a packet: its way, what decided, and what it leaves as.

Nothing is sent, and no running instance is asked: the packets meet the policy in order, on one fresh state, so that a \
flood or a connection can be followed. First those written as arguments, then --hex, then --pcap. Routes, neighbours, \
MTU and MAC addresses are the host's, and are not looked at.";

const EXAMPLES: &str = "\
Examples:
  lbctl explain nat.lbp 'packet tcp syn src 198.51.100.7:40000 dst web:80'
  lbctl explain nat.lbp 'packet icmp echo-request src 192.0.2.1 dst web * 25' 'after 1s'
  lbctl explain nat.lbp --pcap trace.pcap --format short

Exit codes: 0 told, 1 the policy has errors, 2 a packet or a file cannot be read.";

/// Characters of a guard that are shown; its comparisons stand above it.
const LONGEST: usize = 48;

/// Frames of captures that are told at once.
const MOST_FRAMES: usize = 10_000;

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let frames = frames(args, console)?;
    let files::Policy { name, text, directory } = files::read_policy(&args.file)?;
    let (checked, asked) = policy_lang::check_asked(&name, text, &directory, &args.packets);
    let found = findings::judge(checked.diagnostics, &[])?;
    let file = PolicyFile {
        name,
        sources: checked.sources,
        findings: found,
        pedantic: Vec::new(),
        policy: checked.policy,
        image: None,
    };
    let format = args.format.format();
    let errors = findings::errors(&file.findings);
    let unread = findings::errors(&asked.diagnostics);
    if errors > 0 {
        file.tell(console, format);
    }
    if format != Format::Json {
        let said = match format {
            Format::Short => findings::short(&file.sources, &asked.diagnostics),
            _ => findings::human(&file.sources, &asked.diagnostics, console.err_colours()),
        };
        console.say(&said);
    }
    let questions: Vec<Question> = asked.steps.into_iter().map(Question::Step).chain(frames).collect();
    let is_packet = |question: &Question| match question {
        Question::Step(step) => matches!(step, Step::Packet { .. }),
        Question::Frame { .. } => true,
    };
    if errors == 0 && unread == 0 && !questions.iter().any(is_packet) {
        return Err(Failure::new("no packet is asked about; write 'packet tcp syn src … dst …'"));
    }
    let answers = match &file.policy {
        Some(policy) if errors == 0 && unread == 0 => explain(policy, &questions),
        _ => Vec::new(),
    };
    let places = Places::of(&file.sources, answers.iter().flat_map(spans));
    match format {
        Format::Json => {
            let mut findings = findings::json(&file.sources, &file.findings);
            findings.extend(findings::json(&file.sources, &asked.diagnostics));
            console.json(&json!({
                "version": 1,
                "file": file.name,
                "policy": file.policy.as_ref().map(|policy| &policy.name),
                "packets": answers.iter().map(|answer| document(answer, &places)).collect::<Vec<_>>(),
                "findings": findings,
            }))?;
        }
        _ if errors > 0 => console.say(&format!("{}: not explained: {}\n", file.name, file.why_not())),
        Format::Human => {
            for (index, answer) in answers.iter().enumerate() {
                let gap = if index > 0 { "\n" } else { "" };
                write!(console, "{gap}{}", human(answer, &places))?;
            }
        }
        Format::Short => {
            for answer in &answers {
                writeln!(console, "{}: {}: {}", numbers(answer), answer.packet, answer.end)?;
            }
        }
    }
    Ok(match (errors, unread) {
        (0, 0) => Exit::Well,
        (0, _) => Exit::Failed,
        _ => Exit::Findings,
    })
}

/// Every place that an answer names.
fn spans(answer: &Answer) -> impl Iterator<Item = Span> {
    answer.span.into_iter().chain(answer.way.iter().filter_map(|step| step.step.span))
}

/// `3`, or `3 to 20` where several met the same.
fn numbers(answer: &Answer) -> String {
    match (answer.first, answer.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    }
}

fn human(answer: &Answer, places: &Places) -> String {
    let after = match answer.at {
        Duration::ZERO => String::new(),
        at => format!(" (after {at:?})"),
    };
    let mut text = format!("{}. {}{after}\n", numbers(answer), answer.packet);
    text.push_str(&columns(&rows(answer, places), &[], "   "));
    let _ = writeln!(text, "   => {}", answer.end);
    let changes: Vec<Vec<String>> = answer
        .changes
        .iter()
        .map(|change| vec![change.field.to_owned(), format!("{} → {}", change.came, change.leaves)])
        .collect();
    text.push_str(&columns(&changes, &[], "      "));
    text
}

/// Place, answer, text and what decided, of each step.
fn rows(answer: &Answer, places: &Places) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut seen = "";
    for (index, one) in answer.way.iter().enumerate() {
        let next = answer.way.get(index + 1).map(|next| &next.step);
        if way::is_said_next(&one.step, next) {
            seen = &one.because;
            continue;
        }
        let because = if one.step.kind == StepKind::Arm { std::mem::take(&mut seen) } else { &one.because };
        let place = one.step.span.map_or(String::new(), |span| at(span, places));
        let (said, text) = way::told(&one.step);
        rows.push(vec![place, said.to_owned(), short(&text, LONGEST), because.to_owned()]);
    }
    rows
}

fn document(answer: &Answer, places: &Places) -> Value {
    let steps = answer.way.iter().map(|one| {
        let mut step = way::document(&one.step, places);
        step["because"] = (!one.because.is_empty()).then_some(one.because.as_str()).into();
        step
    });
    let changes = answer
        .changes
        .iter()
        .map(|change| json!({ "field": change.field, "came": change.came, "leaves": change.leaves }));
    json!({
        "first": answer.first,
        "last": answer.last,
        "written": answer.span.map(|span| at(span, places)),
        "at_ns": u64::try_from(answer.at.as_nanos()).unwrap_or(u64::MAX),
        "packet": answer.packet,
        "way": steps.collect::<Vec<_>>(),
        "verdict": match answer.verdict {
            Verdict::Drop => "drop",
            Verdict::Pass => "pass",
            Verdict::Forward => "forward",
            Verdict::Reply(_) => "reply",
            Verdict::Held => "held",
        },
        "end": answer.end,
        "changes": changes.collect::<Vec<_>>(),
    })
}

/// The frames of `--hex` and `--pcap`.
fn frames(args: &Args, console: &mut Console) -> Result<Vec<Question>, Failure> {
    let mut frames = Vec::new();
    for digits in &args.hex {
        let frame = bytes(digits).map_err(|why| Failure::new(format!("--hex: {why}")))?;
        frames.push(Question::Frame { frame, at: None });
    }
    for path in &args.pcap {
        let name = path.display();
        let (captured, cut) = capture(path).map_err(|why| Failure::new(format!("{name}: {why}")))?;
        if cut > 0 {
            console.warning(&format!(
                "{name}: {cut} of {} packets were cut by the capture, and are told as if they came so short",
                captured.len()
            ));
        }
        frames.extend(captured);
    }
    Ok(frames)
}

/// Pairs of hexadecimal digits; blanks and colons may stand between them.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut digits = Vec::new();
    for (at, letter) in (1..).zip(text.chars()) {
        match letter.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if letter == ':' || letter.is_ascii_whitespace() => {}
            None => {
                return Err(format!("character {at} is `{}`, no hexadecimal digit", letter.escape_debug()));
            }
        }
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err("an odd number of digits makes no whole bytes".to_owned()),
    }
}

/// The frames of a pcap file (draft-ietf-opsawg-pcap), at their times since the first, and how many it holds in part.
fn capture(path: &Path) -> Result<(Vec<Question>, usize), String> {
    let unread = |error| format!("is no pcap file that can be read: {error}");
    let mut reader = PcapReader::new(files::open(path)?).map_err(unread)?;
    let link = reader.header().datalink;
    if link != DataLink::ETHERNET {
        return Err(format!("holds no Ethernet frames (link type {})", u32::from(link)));
    }
    let (mut frames, mut cut) = (Vec::new(), 0);
    let mut start = None;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| format!("packet {}: {error}", frames.len() + 1))?;
        if frames.len() == MOST_FRAMES {
            return Err(format!("holds more than {MOST_FRAMES} packets; `tcpdump -c` makes a shorter one"));
        }
        let start = *start.get_or_insert(packet.timestamp);
        cut += usize::from(packet.orig_len as usize > packet.data.len());
        let at = Some(packet.timestamp.saturating_sub(start));
        frames.push(Question::Frame { frame: packet.data.into_owned(), at });
    }
    Ok((frames, cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_in_pairs() {
        assert_eq!(bytes("00:0f A0\n"), Ok(vec![0, 15, 160]));
        assert_eq!(bytes("0g"), Err("character 2 is `g`, no hexadecimal digit".to_owned()));
        assert_eq!(bytes("000"), Err("an odd number of digits makes no whole bytes".to_owned()));
    }
}
