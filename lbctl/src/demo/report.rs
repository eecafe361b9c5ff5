//! Owns what the demo found, as values: scenes, steps, counts, and what was wrong. Never how it looks.

use serde::Serialize;

use super::attempt::Answer;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub version: u32,
    pub scenes: Vec<SceneReport>,
    /// Whether all went as the policies say.
    pub well: bool,
    pub wrong: Vec<String>,
}

impl Report {
    /// Gathers what was wrong and says how much it is.
    pub fn close(&mut self) -> usize {
        self.version = 1;
        self.wrong = self.scenes.iter().flat_map(SceneReport::wrong).collect();
        self.well = self.wrong.is_empty();
        self.wrong.len()
    }

    /// Attempts in all scenes.
    pub fn attempts(&self) -> usize {
        let of = |scene: &SceneReport| {
            scene.steps.len() + scene.rounds.iter().map(|round| round.attempts).sum::<usize>()
        };
        self.scenes.iter().map(of).sum()
    }
}

#[derive(Debug, Serialize)]
pub struct SceneReport {
    pub file: &'static str,
    pub policy: String,
    pub generation: u32,
    pub devices: Vec<String>,
    pub apply_micros: u64,
    pub steps: Vec<StepReport>,
    pub rounds: Vec<RoundReport>,
    pub arms: Vec<ArmReport>,
    pub reasons: Vec<(String, u64)>,
    pub backends: Vec<BackendReport>,
}

impl SceneReport {
    fn wrong(&self) -> Vec<String> {
        let steps =
            self.steps.iter().filter_map(|step| Some(format!("{}: {}", step.what, step.wrong.as_ref()?)));
        let rounds = self.rounds.iter().flat_map(|round| &round.wrong).cloned();
        let backends = self
            .backends
            .iter()
            .filter_map(|backend| Some(format!("backend {}: {}", backend.name, backend.wrong.as_ref()?)));
        steps.chain(rounds).chain(backends).map(|what| format!("{}: {what}", self.file)).collect()
    }
}

/// One attempt whose way is shown.
#[derive(Debug, Serialize)]
pub struct StepReport {
    pub what: String,
    /// The way of its first packet by the evaluator, from arm to end.
    pub path: Vec<String>,
    pub answer: Answer,
    /// What differs from it; nothing if all is as the policy says.
    pub wrong: Option<String>,
}

/// Many attempts of one kind.
#[derive(Debug, Serialize)]
pub struct RoundReport {
    pub what: String,
    pub attempts: usize,
    pub micros: u64,
    pub wrong: Vec<String>,
}

/// An arm, a way or an exit, by the program's own counter.
#[derive(Debug, Serialize)]
pub struct ArmReport {
    pub tree: String,
    pub label: String,
    pub line: u32,
    pub packets: u64,
}

#[derive(Debug, Serialize)]
pub struct BackendReport {
    pub pool: String,
    pub name: String,
    pub addresses: Vec<String>,
    /// New flows that the program counted, those the evaluator sent there (unless the pool picks at random), and those
    /// the server saw.
    pub flows: u64,
    pub foretold: Option<u64>,
    pub served: u64,
    pub wrong: Option<String>,
}
