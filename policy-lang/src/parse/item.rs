//! Owns the reading of whole items and their settings. Never guards or chains, which have files of their own.

use pest::iterators::Pair;

use super::{Reader, Rule, first};
use crate::ast::{Block, Claim, Item, Operand, PolicyItem, SetBody, SetOp, Setting, SideRule, Step, join};

impl Reader {
    pub(super) fn item(self, pair: Pair<'_, Rule>) -> Option<Item> {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut inner = pair.into_inner();
        let keyword = inner.next()?;
        Some(match rule {
            Rule::include => Item::Include { path: self.word(&inner.next()?) },
            Rule::constant => {
                let name = self.word(&inner.next()?);
                let mut values = Vec::new();
                for pair in inner {
                    match pair.as_rule() {
                        Rule::list => values.extend(self.words(pair.into_inner())),
                        Rule::atom | Rule::string => values.push(self.word(&pair)),
                        _ => {}
                    }
                }
                Item::Const { name, values }
            }
            Rule::set => {
                let name = self.word(&inner.next()?);
                let mut kind = None;
                let mut body = None;
                for pair in inner {
                    match pair.as_rule() {
                        Rule::name => kind = Some(self.word(&pair)),
                        Rule::set_body => body = self.set_body(pair),
                        Rule::set_words => body = Some(SetBody::Words(self.words(pair.into_inner()))),
                        _ => {}
                    }
                }
                Item::Set { name, kind, body: body? }
            }
            Rule::side => {
                let name = self.word(&inner.next()?);
                let next = inner.next()?;
                let rule = match next.as_rule() {
                    Rule::kw_when => SideRule::When(self.guard(first(inner, Rule::guard)?)?),
                    _ => SideRule::Word(self.word(&next)),
                };
                Item::Side { name, rule }
            }
            Rule::declaration => Item::Declaration {
                kind: self.word(&keyword),
                name: self.word(&inner.next()?),
                block: self.block(inner.next()?)?,
            },
            Rule::tree => {
                Item::Tree { name: self.word(&inner.next()?), chain: self.chain(first(inner, Rule::chain)?)? }
            }
            Rule::policy => {
                let name = self.word(&inner.next()?);
                let mut block = None;
                let mut chain = None;
                for pair in inner {
                    match pair.as_rule() {
                        Rule::block => block = self.block(pair),
                        Rule::chain => chain = self.chain(pair),
                        _ => {}
                    }
                }
                Item::Policy(PolicyItem { name, block, chain: chain? })
            }
            Rule::expectation => {
                let title = self.word(&inner.next()?);
                let steps = inner.filter(|pair| pair.as_rule() == Rule::step).map(|pair| self.step(pair));
                Item::Expect { title, steps: steps.collect(), span }
            }
            Rule::assertion => {
                let title = self.word(&inner.next()?);
                let claims = inner.filter(|pair| pair.as_rule() == Rule::claim);
                Item::Assert { title, claims: claims.filter_map(|pair| self.claim(pair)).collect(), span }
            }
            _ => return None,
        })
    }

    fn set_body(self, pair: Pair<'_, Rule>) -> Option<SetBody> {
        let mut first = None;
        let mut rest = Vec::new();
        let mut op = SetOp::Union;
        for pair in pair.into_inner() {
            let words = match pair.as_rule() {
                Rule::set_op => {
                    op = if pair.as_str().starts_with("union") { SetOp::Union } else { SetOp::Except };
                    continue;
                }
                Rule::list => self.words(pair.into_inner()),
                _ => vec![self.word(&pair)],
            };
            match first {
                None => first = Some(Operand { words }),
                Some(_) => rest.push((op, Operand { words })),
            }
        }
        Some(SetBody::Expression { first: first?, rest })
    }

    pub(super) fn block(self, pair: Pair<'_, Rule>) -> Option<Block> {
        let span = self.span(&pair);
        let settings = pair.into_inner().filter(|pair| pair.as_rule() == Rule::setting);
        Some(Block { settings: settings.filter_map(|pair| self.setting(pair)).collect(), span })
    }

    fn setting(self, pair: Pair<'_, Rule>) -> Option<Setting> {
        let mut inner = pair.into_inner();
        let name = self.word(&inner.next()?);
        let mut setting = Setting { span: name.span, name, groups: Vec::new(), block: None, equals: None };
        for pair in inner {
            match pair.as_rule() {
                Rule::group => {
                    setting.span = join(setting.span, self.span(&pair));
                    let inner = pair.into_inner();
                    let stray = inner.clone().find(|pair| pair.as_rule() == Rule::assign);
                    setting.equals = setting.equals.or(stray.map(|pair| self.span(&pair)));
                    setting.groups.push(self.words(inner));
                }
                Rule::block => setting.block = self.block(pair),
                _ => {}
            }
        }
        Some(setting)
    }

    pub(super) fn step(self, pair: Pair<'_, Rule>) -> Step {
        let span = self.span(&pair);
        let mut step = Step { words: Vec::new(), times: None, outcome: None, span };
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::times => step.times = self.words(pair.into_inner()).pop(),
                Rule::outcome => step.outcome = Some(self.words(pair.into_inner())),
                Rule::atom | Rule::string => step.words.push(self.word(&pair)),
                _ => {}
            }
        }
        step
    }

    fn claim(self, pair: Pair<'_, Rule>) -> Option<Claim> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let quantifier = self.word(&inner.next()?);
        let guard = self.guard(inner.next()?)?;
        let goal = self.word(&inner.next()?);
        Some(Claim { quantifier, guard, goal, words: self.words(inner), span })
    }
}
