//! Owns the tree that TOML and YAML have in common: tables, lists and values, each with its place.
//! Never how either is written, and never what a key means.

use crate::ast::Word;
use crate::source::Span;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    /// Of a table with a header, the header.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// In the order of the text; no key twice.
    Table(Vec<(Word, Node)>),
    List(Vec<Node>),
    Text(String),
    /// None: too large to be told apart.
    Whole(Option<i128>),
    Flag(bool),
    /// What no schema here takes, with its article: `a date`.
    Other(&'static str),
}

impl Value {
    /// What it is, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Table(_) => "a table",
            Value::List(_) => "a list",
            Value::Text(_) => "a text",
            Value::Whole(_) => "a whole number",
            Value::Flag(_) => "`true` or `false`",
            Value::Other(kind) => kind,
        }
    }
}
