//! Owns `lbctl graph`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use compiler::figure::{Figure, figure};
use policy_lang::diagnostic::never;
use serde_json::json;

use crate::args::Format;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::graph::ascii::Terminal;
use crate::graph::{ascii, dot, json, mermaid, svg};
use crate::policy_file::{self, PolicyFile};
use crate::{files, findings};

#[derive(clap::Args, Debug)]
#[command(
    about = "Draw a policy: its matches, stages, exits and ends, as a picture or on the terminal",
    long_about = LONG,
    after_help = EXAMPLES
)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Form of the drawing [default: by the name after -o; else ascii on a terminal, svg elsewhere].
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// One JSON document on standard output: nodes, ways and groups.
    #[arg(long, conflicts_with_all = ["format", "output"])]
    json: bool,
    /// Write the drawing there instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    /// A picture that needs no other program: for browsers, documents, reviews.
    Svg,
    /// For `dot` of Graphviz.
    Dot,
    /// For Markdown with Mermaid flowcharts.
    Mermaid,
    /// Indented lines, in colours on a terminal.
    Ascii,
}

const LONG: &str = "\
Draw a policy: its matches, stages, exits and ends, as a picture or on the terminal.

Arms stand in the order in which they are tried. Exits that are not written are drawn too, to the policy's default. What \
no packet reaches is faded and says so; a policy whose only errors are of that kind is drawn all the same. A tree is \
drawn once, however often it is used. Long runs of arms that lead to the same, and what goes beyond 64 arms of one match \
or 3,000 parts in all, stand as one.";

const EXAMPLES: &str = "\
Examples:
  lbctl graph policy.lbp                      on a terminal: as text
  lbctl graph policy.lbp -o policy.svg        a picture
  lbctl graph policy.lbp --format mermaid     for a README
  lbctl graph policy.lbp --format dot | dot -Tpdf > policy.pdf

Exit codes: 0 drawn, 1 the policy has errors (drawn where they are only of what no packet reaches), 2 a file cannot be \
read or written.";

/// Columns of `ascii` where there is no terminal.
const WIDTH: usize = 100;

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let files::Policy { name, text, directory } = files::read_policy(&args.file)?;
    let form = form(args)?;
    let mut checked = policy_lang::check(&name, text, &directory);
    let typed = checked.policy.as_ref().or(checked.partly_reached.as_ref());
    let analysed = policy_file::analysed(typed, &checked.diagnostics);
    checked.diagnostics.extend(analysed);
    let never = never(&checked.diagnostics);
    let found = findings::judge(checked.diagnostics, &[])?;
    let errors = findings::errors(&found);
    let drawn = checked.policy.as_ref().or(checked.partly_reached.as_ref());
    let drawn = drawn.map(|policy| figure(policy, &never));
    let file = PolicyFile {
        name,
        sources: checked.sources,
        findings: found,
        pedantic: Vec::new(),
        policy: checked.policy,
        image: None,
    };
    if errors > 0 {
        file.tell(console, if args.json { Format::Json } else { Format::Human });
    }
    match (&drawn, args.json) {
        (_, true) => console.json(&json!({
            "version": 1,
            "file": file.name,
            "drawing": drawn.as_ref().map(json::document),
            "findings": findings::json(&file.sources, &file.findings),
        }))?,
        (Some(figure), false) => {
            let text = document(figure, &file.name, form, args.output.is_none(), console);
            match &args.output {
                Some(path) => files::replace(path, text.as_bytes())?,
                None => console.write_all(text.as_bytes())?,
            }
        }
        (None, false) => console.say(&format!("{}: not drawn: {}\n", file.name, file.why_not())),
    }
    Ok(if errors == 0 { Exit::Well } else { Exit::Findings })
}

/// The form that is asked for, or that the place of the output asks for.
fn form(args: &Args) -> Result<Form, Failure> {
    match (args.format, &args.output) {
        (Some(form), _) => Ok(form),
        (None, None) if std::io::stdout().is_terminal() => Ok(Form::Ascii),
        (None, None) => Ok(Form::Svg),
        (None, Some(path)) => by_name(path).ok_or_else(|| {
            Failure::new(format!(
                "{}: what form? Name it .svg, .dot, .mmd or .txt, or add --format",
                path.display()
            ))
        }),
    }
}

fn by_name(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => Some(Form::Svg),
        "dot" | "gv" => Some(Form::Dot),
        "mmd" | "mermaid" => Some(Form::Mermaid),
        "txt" => Some(Form::Ascii),
        _ => None,
    }
}

fn document(figure: &Figure, source: &str, form: Form, stdout: bool, console: &Console) -> String {
    match form {
        Form::Svg => svg::document(figure, source),
        Form::Dot => dot::document(figure),
        Form::Mermaid => mermaid::document(figure),
        Form::Ascii => {
            let shown = stdout && std::io::stdout().is_terminal();
            let width = terminal_size::terminal_size().filter(|_| shown);
            let terminal = Terminal {
                width: width.map_or(WIDTH, |(width, _)| usize::from(width.0)),
                colours: shown && console.colours(),
                unicode: is_unicode(),
            };
            ascii::document(figure, source, terminal)
        }
    }
}

/// Whether letters beyond ASCII are shown: unless the locale, where one is set, is of another encoding (POSIX.1-2017,
/// XBD section 8.2).
fn is_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
