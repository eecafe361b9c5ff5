//! Owns the tree as it was written: words and their places, with nothing resolved and nothing typed.
//! Never the meaning of a word.

use crate::source::Span;

/// One word, or the inside of a string.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Word {
    pub text: String,
    pub span: Span,
    pub quoted: bool,
}

impl Word {
    /// As it stands in the text.
    pub fn written(&self) -> String {
        if self.quoted { format!("\"{}\"", self.text) } else { self.text.clone() }
    }
}

#[derive(PartialEq, Debug)]
pub(crate) enum Item {
    Include { path: Word },
    Const { name: Word, values: Vec<Word> },
    Set { name: Word, kind: Option<Word>, body: SetBody },
    Side { name: Word, rule: SideRule },
    Declaration { kind: Word, name: Word, block: Block },
    Tree { name: Word, chain: Chain },
    Policy(PolicyItem),
    Expect { title: Word, steps: Vec<Step>, span: Span },
    Assert { title: Word, claims: Vec<Claim>, span: Span },
}

#[derive(PartialEq, Debug)]
pub(crate) struct PolicyItem {
    pub name: Word,
    pub block: Option<Block>,
    pub chain: Chain,
}

#[derive(PartialEq, Debug)]
pub(crate) enum SetBody {
    /// `= a union b except c`.
    Expression { first: Operand, rest: Vec<(SetOp, Operand)> },
    /// `from "file" max 9`, `dynamic max 9 ttl 1m`.
    Words(Vec<Word>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SetOp {
    Union,
    Except,
}

/// A name, or words in braces.
#[derive(PartialEq, Debug)]
pub(crate) struct Operand {
    pub words: Vec<Word>,
}

#[derive(PartialEq, Debug)]
pub(crate) enum SideRule {
    When(Guard),
    Word(Word),
}

#[derive(PartialEq, Debug)]
pub(crate) struct Block {
    pub settings: Vec<Setting>,
    pub span: Span,
}

/// `word value*, value* block?`.
#[derive(PartialEq, Debug)]
pub(crate) struct Setting {
    pub name: Word,
    pub groups: Vec<Vec<Word>>,
    pub block: Option<Block>,
    /// A `=` that does not belong here.
    pub equals: Option<Span>,
    /// Without the block.
    pub span: Span,
}

#[derive(PartialEq, Debug)]
pub(crate) enum Guard {
    Or(Vec<Guard>),
    And(Vec<Guard>),
    Not(Box<Guard>, Span),
    From(Word, Span),
    To(Word, Span),
    Test(Test),
}

#[derive(PartialEq, Debug)]
pub(crate) struct Test {
    pub field: Word,
    pub op: Option<(Op, Span)>,
    pub values: Vec<Word>,
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Eq,
    Ne,
    In,
    NotIn,
    Assign,
    Order,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Chain {
    pub links: Vec<Link>,
    pub span: Span,
}

#[derive(PartialEq, Debug)]
pub(crate) enum Link {
    Match { arms: Vec<Arm>, word: Span, span: Span },
    Every { words: Vec<Word>, ways: Vec<Way>, span: Span },
    Stage(Stage),
}

#[derive(PartialEq, Debug)]
pub(crate) struct Arm {
    /// None is `else`.
    pub guard: Option<Guard>,
    pub text: String,
    /// The guard, or the word `else`.
    pub head: Span,
    pub chain: Option<Chain>,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Way {
    pub number: Word,
    pub chain: Chain,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Stage {
    pub verb: Word,
    pub words: Vec<Word>,
    pub exits: Vec<Exit>,
    pub span: Span,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Exit {
    pub name: Word,
    pub chain: Chain,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Step {
    pub words: Vec<Word>,
    pub times: Option<Word>,
    pub outcome: Option<Vec<Word>>,
    pub span: Span,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Claim {
    pub quantifier: Word,
    pub guard: Guard,
    pub goal: Word,
    pub words: Vec<Word>,
    pub span: Span,
}

impl Link {
    pub fn span(&self) -> Span {
        match self {
            Link::Match { span, .. } | Link::Every { span, .. } => *span,
            Link::Stage(stage) => stage.span,
        }
    }
}

/// From the start of `a` to the end of `b`.
pub(crate) fn join(a: Span, b: Span) -> Span {
    Span { file: a.file, start: a.start, end: b.end.max(a.start) }
}
