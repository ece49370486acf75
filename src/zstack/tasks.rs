//! What is known of the management node's tasks: which were taken, what they were answered, and whether the answer
//! arrived. Pure; `ledger.rs` keeps it on disk.
//!
//! A task is taken once, however often its uuid comes. An answer that says what a change of the configuration came to is
//! written down before the change is made, with the generation that the change makes: after a restart the answer holds if
//! that generation is there, and else the task was not carried out and is answered so.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure;
use crate::store::generations::Number;

/// How many tasks are remembered; the oldest of those that are over is forgotten.
pub(super) const REMEMBERED: usize = 10_000;
/// The longest answer in octets that is kept after it arrived; whoever asks again after that is told nothing.
const KEPT_ANSWER: usize = 1024;

/// What a task is answered whose command the end of the process came before.
pub(super) const CUT_SHORT: &str =
    "the router's service ended before the command was carried out; nothing of it was done";

/// One task of the management node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// Its uuid.
    pub(super) uuid: String,
    /// The path that it was posted to.
    pub(super) path: String,
    /// Where its answer is wanted.
    pub(super) callback: String,
    /// How far it is.
    pub(super) state: State,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It waits to be carried out, or is.
    Taken,
    /// It has an answer that is to be delivered.
    Answered {
        /// The answer as JSON text.
        answer: String,
        /// The generation that the answer is true of, where it changes the configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<Number>,
    },
    /// The answer arrived, or nobody wanted it any more.
    Over {
        /// The answer as JSON text, unless it was long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<String>,
    },
}

/// What a uuid that comes is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A task that nobody knew.
    New,
    /// A task that is being carried out or answered: there is nothing to do.
    Running,
    /// A task that is over; this was its answer, where it is still known.
    Over(Option<String>),
}

/// The tasks that are remembered.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// By uuid, with the place in the order of coming.
    known: HashMap<String, (u64, Task)>,
    order: BTreeMap<u64, String>,
    next: u64,
    /// How many are not over.
    open: usize,
}

impl Tasks {
    /// What this uuid is.
    #[must_use]
    pub(super) fn seen(&self, uuid: &str) -> Seen {
        match self.known.get(uuid).map(|(_, task)| &task.state) {
            None => Seen::New,
            Some(State::Taken | State::Answered { .. }) => Seen::Running,
            Some(State::Over { answer }) => Seen::Over(answer.clone()),
        }
    }

    /// How many tasks are not over.
    #[must_use]
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// How many tasks are remembered.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes note of a task as it is now, whatever was known of it. Its place among the others stays.
    pub(super) fn put(&mut self, task: Task) {
        let place = match self.known.get(&task.uuid) {
            Some((place, before)) => {
                self.open -= usize::from(before.is_open());
                *place
            }
            None => {
                self.next += 1;
                self.order.insert(self.next, task.uuid.clone());
                self.next
            }
        };
        self.open += usize::from(task.is_open());
        self.known.insert(task.uuid.clone(), (place, task));
        self.forget();
    }

    /// Forgets a task that could not be written down.
    pub(super) fn remove(&mut self, uuid: &str) {
        if let Some((place, task)) = self.known.remove(uuid) {
            self.open -= usize::from(task.is_open());
            self.order.remove(&place);
        }
    }

    /// A task by its uuid.
    #[must_use]
    pub(super) fn get(&self, uuid: &str) -> Option<&Task> {
        self.known.get(uuid).map(|(_, task)| task)
    }

    /// Every task that is remembered, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Task> {
        self.order.values().filter_map(|uuid| self.get(uuid))
    }

    /// Gives every task that a dead process left an answer that is true: `ran` is whether a generation was made by the
    /// management node's commands. Returns the tasks whose answers are to be delivered, oldest first.
    pub(super) fn resume(&mut self, ran: impl Fn(Number) -> bool) -> Vec<Task> {
        let left: Vec<Task> = self.all().filter(|task| task.is_open()).cloned().collect();
        let resume = |task: Task| match &task.state {
            State::Answered { generation, .. } if generation.is_none_or(&ran) => task,
            _ => Task { state: State::failed(CUT_SHORT), ..task },
        };
        let left: Vec<Task> = left.into_iter().map(resume).collect();
        left.iter().cloned().for_each(|task| self.put(task));
        left
    }

    /// Keeps no more than are worth remembering. A task that is not over is never forgotten; how many there are is
    /// bounded where they are taken.
    fn forget(&mut self) {
        while self.known.len() > REMEMBERED {
            let over = |uuid: &&String| self.get(uuid).is_some_and(|task| !task.is_open());
            let Some(uuid) = self.order.values().find(over).cloned() else { return };
            self.remove(&uuid);
        }
    }
}

impl Task {
    /// Whether it is not over.
    #[must_use]
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Over { .. })
    }

    /// The same with its answer delivered.
    #[must_use]
    pub(super) fn over(self) -> Self {
        let answer = match self.state {
            State::Answered { answer, .. } => Some(answer).filter(|answer| answer.len() <= KEPT_ANSWER),
            State::Over { answer } => answer,
            State::Taken => None,
        };
        Self { state: State::Over { answer }, ..self }
    }
}

impl State {
    /// An answer that says what went wrong.
    #[must_use]
    pub(super) fn failed(error: &str) -> Self {
        Self::answered(&failure(error), None)
    }

    /// An answer, and the generation that it is true of.
    #[must_use]
    pub(super) fn answered(answer: &Value, generation: Option<Number>) -> Self {
        Self::Answered { answer: answer.to_string(), generation }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(uuid: &str, state: State) -> Task {
        Task { uuid: uuid.into(), path: "/createeip".into(), callback: "http://10.0.0.2:8080/".into(), state }
    }

    fn success(generation: Option<Number>) -> State {
        State::answered(&json!({"success": true}), generation)
    }

    #[test]
    fn a_uuid_is_new_once() {
        let mut tasks = Tasks::default();
        assert_eq!(tasks.seen("a"), Seen::New);
        tasks.put(task("a", State::Taken));
        assert_eq!((tasks.seen("a"), tasks.open()), (Seen::Running, 1));
        tasks.put(task("a", success(Some(3))));
        assert_eq!((tasks.seen("a"), tasks.open()), (Seen::Running, 1));
        let over = tasks.get("a").unwrap().clone().over();
        tasks.put(over);
        assert_eq!(tasks.seen("a"), Seen::Over(Some(r#"{"success":true}"#.into())));
        assert_eq!((tasks.open(), tasks.len()), (0, 1));
    }

    #[test]
    fn the_oldest_that_are_over_are_forgotten_and_the_open_never() {
        let mut tasks = Tasks::default();
        tasks.put(task("open", State::Taken));
        for number in 0..REMEMBERED + 5 {
            tasks.put(task(&number.to_string(), success(None)).over());
        }
        assert_eq!((tasks.len(), tasks.open()), (REMEMBERED, 1));
        assert_eq!(tasks.seen("open"), Seen::Running);
        assert_eq!((tasks.seen("5"), tasks.seen("0")), (Seen::New, Seen::New));
        assert!(matches!(tasks.seen("6"), Seen::Over(_)));
        assert_eq!(tasks.all().next().unwrap().uuid.as_str(), "open", "the order is that of coming");
    }

    #[test]
    fn a_long_answer_is_not_kept_and_its_task_is() {
        let long = json!({"success": true, "rawRoutes": "x".repeat(KEPT_ANSWER)});
        assert_eq!(task("a", State::answered(&long, None)).over().state, State::Over { answer: None });
    }

    /// Input: what a killed process left, with generation 7 the last. Output: what the management node is told.
    #[test]
    fn what_a_dead_process_left_is_answered_by_what_it_did() {
        let mut tasks = Tasks::default();
        tasks.put(task("taken", State::Taken));
        tasks.put(task("done", success(Some(7))));
        tasks.put(task("not done", success(Some(8))));
        tasks.put(task("no change", success(None)));
        tasks.put(task("over", success(Some(6))).over());
        let told = tasks.resume(|generation| generation <= 7);
        let answers: Vec<(&str, bool)> = told
            .iter()
            .map(|task| match &task.state {
                State::Answered { answer, .. } => (task.uuid.as_str(), answer.contains("\"success\":true")),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(answers, [("taken", false), ("done", true), ("not done", false), ("no change", true)]);
        assert_eq!(tasks.open(), 4);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for state in [State::Taken, success(Some(3)), success(None), success(None)] {
            for task in [task("a", state.clone()), task("a", state).over()] {
                let text = serde_json::to_string(&task).unwrap();
                assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task, "{text}");
            }
        }
    }
}
