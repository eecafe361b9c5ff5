//! Owns `lbctl compile`.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use ebpf_runtime::footprint::{self, MapSize};
use lb_abi::bundle::Image;
use serde_json::{Value, json};

use crate::commands::apply::hex;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::table::{bytes, columns, thousands};
use crate::{files, policy_file};
use compiler::image::names;

#[derive(clap::Args, Debug)]
#[command(about = "Compile a policy into an image: words, map contents and mode flags", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Form of the image.
    #[arg(long, value_enum, default_value_t = ImageFormat::Text)]
    format: ImageFormat,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the image there instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ImageFormat {
    /// Readable and stable: equal policies give equal texts.
    Text,
    /// Id, names, sizes and flags, without the words.
    Json,
    /// The bytes that an image is moved in.
    Bin,
}

const EXAMPLES: &str = "\
Examples:
  lbctl compile policy.lbp
  lbctl compile policy.lbp --format json
  lbctl compile policy.lbp --format bin -o policy.image

The same policy gives the same id; comments and lay-out are no part of it. With -o, id and memory are shown on \
standard output.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let format = if args.json { ImageFormat::Json } else { args.format };
    let file = policy_file::load(&args.file, &[])?;
    if file.image.is_none() && format == ImageFormat::Json {
        console.json(&file.document(&BTreeSet::new()))?;
        return Ok(Exit::Findings);
    }
    let Some((_, image)) = file.compiled(console) else {
        return Ok(Exit::Findings);
    };
    let maps = footprint::maps(&image).map_err(|error| Failure::new(error.to_string()))?;
    let content = match format {
        ImageFormat::Text => compiler::image::to_text(&image).into_bytes(),
        ImageFormat::Bin => compiler::image::to_bytes(&image),
        ImageFormat::Json => {
            let mut text = serde_json::to_vec_pretty(&document(&image, &maps))?;
            text.push(b'\n');
            text
        }
    };
    let memory = memory(&maps);
    match (&args.output, format) {
        (Some(path), _) => {
            files::replace(path, &content)?;
            let id = hex(&compiler::image::id(&image));
            write!(console, "policy {}\nid {id}\n\n{memory}", image.name)?;
        }
        (None, ImageFormat::Text) => {
            console.write_all(&content)?;
            write!(console, "\n{memory}")?;
        }
        (None, ImageFormat::Bin) if std::io::stdout().is_terminal() => {
            return Err(Failure::new("the binary form is not for a terminal: add -o FILE"));
        }
        (None, _) => console.write_all(&content)?,
    }
    Ok(Exit::Well)
}

/// What the maps of the image take.
fn memory(maps: &[MapSize]) -> String {
    let mut rows = vec![["map", "entries", "memory"].map(str::to_owned).to_vec()];
    rows.extend(
        maps.iter().map(|map| vec![map.name.to_owned(), thousands(map.entries.into()), bytes(map.bytes)]),
    );
    let total = maps.iter().map(|map| map.bytes).sum();
    rows.push(vec!["in all".to_owned(), String::new(), bytes(total)]);
    columns(&rows, &[1, 2], "")
}

fn document(image: &Image, maps: &[MapSize]) -> Value {
    json!({
        "version": 1,
        "policy": image.name,
        "id": hex(&compiler::image::id(image)),
        "words": image.words.len(),
        "fields": names::fields(image),
        "ops": names::ops(image),
        "features": names::features(image),
        "maps": maps,
        "memory_bytes": maps.iter().map(|map| map.bytes).sum::<u64>(),
        "limits": image.limits.iter().map(|limit| json!({ "name": limit.name, "max": limit.max })).collect::<Vec<_>>(),
        "trackers":
            image.trackers.iter().map(|tracker| json!({ "name": tracker.name, "max": tracker.max })).collect::<Vec<_>>(),
        "pools": image.pools.iter().enumerate().map(|(ordinal, pool)| pool_document(image, ordinal, &pool.name))
            .collect::<Vec<_>>(),
        "arms": image.tallies.iter().map(|tally| json!({
            "label": tally.label, "tree": tally.tree, "file": tally.file, "line": tally.line,
        })).collect::<Vec<_>>(),
    })
}

fn pool_document(image: &Image, ordinal: usize, name: &str) -> Value {
    let backends = image.backends.iter().filter(|backend| backend.pool as usize == ordinal);
    let backends = backends.map(|backend| {
        let address = crate::bench::address(backend.addr).to_string();
        json!({ "name": backend.name, "address": address, "port": backend.port })
    });
    json!({ "name": name, "backends": backends.collect::<Vec<_>>() })
}
