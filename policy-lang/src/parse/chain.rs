//! Owns the reading of chains: stages, matches, turns and exits. Never what a verb does.

use pest::iterators::Pair;

use super::{Reader, Rule};
use crate::ast::{Arm, Chain, Exit, Link, Stage, Way};

impl Reader {
    pub(super) fn chain(self, pair: Pair<'_, Rule>) -> Option<Chain> {
        let span = self.span(&pair);
        let mut links = Vec::new();
        for pair in pair.into_inner() {
            let span = self.span(&pair);
            links.push(match pair.as_rule() {
                Rule::choice => self.choice(pair)?,
                Rule::every => {
                    let (ways, words) =
                        pair.into_inner().partition::<Vec<_>, _>(|pair| pair.as_rule() == Rule::way);
                    let words = self.words(words);
                    let ways = ways.into_iter().map(|pair| self.way(pair)).collect::<Option<_>>()?;
                    Link::Every { words, ways, span }
                }
                Rule::stage => Link::Stage(self.stage(pair)?),
                _ => continue,
            });
        }
        Some(Chain { links, span })
    }

    fn choice(self, pair: Pair<'_, Rule>) -> Option<Link> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let word = self.span(&inner.next()?);
        let arms = inner.filter(|pair| pair.as_rule() == Rule::arm).map(|pair| self.arm(pair));
        Some(Link::Match { arms: arms.collect::<Option<_>>()?, word, span })
    }

    fn arm(self, pair: Pair<'_, Rule>) -> Option<Arm> {
        let mut inner = pair.into_inner();
        let head = inner.next()?;
        let mut arm = Arm { guard: None, text: self.folded(&head), head: self.span(&head), chain: None };
        if head.as_rule() == Rule::guard {
            arm.guard = Some(self.guard(head)?);
        }
        if let Some(pair) = inner.find(|pair| pair.as_rule() == Rule::chain) {
            arm.chain = Some(self.chain(pair)?);
        }
        Some(arm)
    }

    fn way(self, pair: Pair<'_, Rule>) -> Option<Way> {
        let mut inner = pair.into_inner();
        let number = self.word(&inner.next()?);
        let chain = inner.find(|pair| pair.as_rule() == Rule::chain)?;
        Some(Way { number, chain: self.chain(chain)? })
    }

    fn stage(self, pair: Pair<'_, Rule>) -> Option<Stage> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let verb = self.word(&inner.next()?);
        let mut stage = Stage { verb, words: Vec::new(), exits: Vec::new(), span };
        for pair in inner {
            if pair.as_rule() == Rule::exits {
                for exit in pair.into_inner() {
                    let mut inner = exit.into_inner();
                    let name = self.word(&inner.next()?);
                    let chain = inner.find(|pair| pair.as_rule() == Rule::chain)?;
                    stage.exits.push(Exit { name, chain: self.chain(chain)? });
                }
            } else {
                stage.words.push(self.word(&pair));
            }
        }
        Some(stage)
    }
}
