//! Owns the reading of guards. Never what a field or a name in them means.

use pest::iterators::Pair;

use super::{Reader, Rule};
use crate::ast::{Guard, Op, Test};

impl Reader {
    /// Depth is bounded by the nesting of brackets; runs of `not` are a loop.
    pub(super) fn guard(self, pair: Pair<'_, Rule>) -> Option<Guard> {
        let parts = pair.into_inner().filter(|pair| pair.as_rule() == Rule::conj);
        let parts: Option<Vec<Guard>> = parts.map(|pair| self.conj(pair)).collect();
        Some(one_or(parts?, Guard::Or))
    }

    fn conj(self, pair: Pair<'_, Rule>) -> Option<Guard> {
        let parts = pair.into_inner().filter(|pair| pair.as_rule() == Rule::unary);
        let parts: Option<Vec<Guard>> = parts.map(|pair| self.unary(pair)).collect();
        Some(one_or(parts?, Guard::And))
    }

    fn unary(self, pair: Pair<'_, Rule>) -> Option<Guard> {
        let span = self.span(&pair);
        let mut complement = false;
        for pair in pair.into_inner() {
            let place = self.span(&pair);
            let guard = match pair.as_rule() {
                Rule::kw_not => {
                    complement = !complement;
                    continue;
                }
                Rule::guard => self.guard(pair)?,
                Rule::from => Guard::From(self.words(pair.into_inner()).pop()?, place),
                Rule::to => Guard::To(self.words(pair.into_inner()).pop()?, place),
                Rule::test => Guard::Test(self.test(pair)?),
                _ => return None,
            };
            return Some(if complement { Guard::Not(Box::new(guard), span) } else { guard });
        }
        None
    }

    fn test(self, pair: Pair<'_, Rule>) -> Option<Test> {
        let span = self.span(&pair);
        let text = self.folded(&pair);
        let mut inner = pair.into_inner();
        let field = self.word(&inner.next()?);
        let mut test = Test { field, op: None, values: Vec::new(), text, span };
        for pair in inner {
            match pair.as_rule() {
                Rule::op => {
                    let place = self.span(&pair);
                    let op = match pair.into_inner().next()?.as_rule() {
                        Rule::eq => Op::Eq,
                        Rule::ne => Op::Ne,
                        Rule::kw_in => Op::In,
                        Rule::not_in => Op::NotIn,
                        Rule::slip_assign => Op::Assign,
                        _ => Op::Order,
                    };
                    test.op = Some((op, place));
                }
                Rule::list => test.values = self.words(pair.into_inner()),
                _ => test.values.push(self.word(&pair)),
            }
        }
        Some(test)
    }
}

fn one_or(mut parts: Vec<Guard>, many: impl FnOnce(Vec<Guard>) -> Guard) -> Guard {
    if parts.len() > 1 {
        return many(parts);
    }
    // The grammar has at least one part.
    parts.pop().unwrap_or(Guard::And(Vec::new()))
}
