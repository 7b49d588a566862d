//! The words of `diagnosis.json`, the contract with scripts, CI jobs and other tools: additive changes only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of [`Diagnosis::schema`].
pub const SCHEMA: &str = "pollscope.diagnosis/1";

/// What was concluded about one run of one program.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The conclusion in one word.
    pub verdict: Verdict,
    /// The program that was observed.
    pub program: Program,
    /// What was looked for, and the answer.
    pub checks: Vec<Check>,
    /// The faults, worst first.
    pub findings: Vec<Finding>,
    /// Tasks that were idle for a second or more at the end of what is known, by the line where they await; most tasks
    /// first. Most of a healthy program's are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<IdleGroup>,
    /// What could not be seen in this program, each as one sentence.
    pub not_observable: Vec<String>,
    /// Who observed, and what it cost.
    pub observer: Observer,
    /// Remarks about the recording itself: damage, loss, missing debug information.
    pub notes: Vec<String>,
}

/// The conclusion in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Polls were seen and nothing is wrong with them.
    Healthy,
    /// At least one fault that does harm.
    Findings,
    /// The machine is to blame, not the program.
    Environment,
    /// Too little was seen to say anything.
    #[default]
    Unknown,
}

/// How much a fault hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; it hurt nobody in this run.
    Info,
    /// Others had to wait noticeably.
    Warning,
    /// Others had to wait for long, or for ever.
    Critical,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Fits what was seen; other causes would too.
    Possible,
    /// Fits what was seen better than anything else.
    Likely,
    /// Every link of the argument was seen.
    Proven,
}

/// What a detector answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The fault is there.
    Found,
    /// The fault is not there.
    Clear,
    /// It could not be seen.
    CannotTell,
}

/// The program that was observed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Program {
    /// File name of the executable.
    pub name: String,
    /// Process id.
    pub pid: u64,
    /// Hex GNU build id of the executable; empty if it has none.
    pub build_id: String,
    /// RFC 3339, UTC; empty if unknown.
    pub started_at: String,
    /// How long it was observed.
    pub seconds: f64,
    /// tokio's version; empty if unknown.
    pub tokio: String,
    /// Its runtimes.
    pub runtimes: Vec<RuntimeRef>,
}

/// A tokio runtime.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuntimeRef {
    /// `multi_thread`, `current_thread` or `unknown`.
    pub flavor: String,
    /// Worker threads.
    pub workers: u64,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Id of the fault that was looked for.
    pub kind: String,
    /// The answer.
    pub answer: Answer,
    /// On what grounds.
    pub why: String,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable id, kebab-case.
    pub kind: String,
    /// How much it hurts.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// One line for people.
    pub title: String,
    /// Who is to blame, and where.
    pub culprit: Culprit,
    /// How often and how long.
    pub occurrences: Occurrences,
    /// Circumstances that made it worse, e.g. `driver-held`.
    pub amplifiers: Vec<String>,
    /// The figures the finding rests on.
    pub evidence: Vec<Evidence>,
    /// Who was hurt, and by how much; worst first.
    pub victims: Vec<Victim>,
    /// Who waits for what, where that is the fault; else `null`.
    pub graph: Option<Graph>,
    /// What to do about it, in about two sentences.
    pub repair: String,
    /// Page of this kind of fault in the catalogue.
    pub read_more: String,
}

/// Who is to blame, and where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Culprit {
    /// The task; `null` if no single task is to blame.
    pub task: Option<TaskRef>,
    /// The line to change; `null` if unknown.
    pub at: Option<Location>,
    /// The library function called there; `null` if none or unknown.
    pub call: Option<String>,
    /// The stack, innermost frame first.
    pub stack: Vec<Frame>,
    /// The program's own tracing spans around it, outermost first.
    pub spans: Vec<Span>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskRef {
    /// tokio's task id, or the agent's for a root future.
    pub id: u64,
    /// Name given with `task::Builder`.
    pub name: Option<String>,
    /// Type of its future, as far as the stack shows it.
    #[serde(rename = "type")]
    pub future: Option<String>,
    /// Where it was spawned.
    pub spawned_at: Option<Location>,
    /// Of a victim: the program's own tracing spans it waits in, outermost first, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

/// A place in source code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Location {
    /// Relative to the compilation directory when under it, else absolute; empty if the program has no line tables.
    pub file: String,
    /// From 1; 0 if the program has no line tables: then the function is known alone.
    pub line: u32,
    /// Whose code it is.
    #[serde(rename = "crate")]
    pub krate: Option<String>,
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Frame {
    /// The function, demangled; the address in hex if unknown.
    pub function: String,
    /// As in [`Location::file`].
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// Whose code it is.
    #[serde(rename = "crate")]
    pub krate: Option<String>,
    /// True if the compiler inlined it into the next frame.
    pub inlined: bool,
}

/// A tracing span of the program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
}

/// Idle tasks that await at one line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct IdleGroup {
    /// The line; `null` if it was not seen.
    pub at: Option<Location>,
    /// The library function called there; `null` if none or unknown.
    pub call: Option<String>,
    /// What they wait for, e.g. `a message or a timer`.
    pub waits_for: String,
    /// How many tasks.
    pub tasks: u64,
    /// For how long the first of them has been idle.
    pub longest_ms: f64,
    /// For how long the last of them has been idle.
    pub shortest_ms: f64,
    /// They were polled since, so the line is where they last registered their waker, and may be an old one.
    pub older: bool,
    /// Nothing is left that could wake them: `std::future::pending()`, or a waker that was forgotten.
    pub no_waker: bool,
    /// Some of the tasks, the longest idle first.
    pub examples: Vec<TaskRef>,
}

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Occurrences {
    /// How many times.
    pub count: u64,
    /// All together.
    pub total_ms: f64,
    /// The longest.
    pub worst_ms: f64,
    /// When the first one began.
    pub first_ns: u64,
    /// When the last one ended, or was last seen.
    pub last_ns: u64,
}

/// One figure a finding rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit, e.g. `ms`.
    pub unit: String,
    /// Where to see it in the recording.
    pub at: Option<Stretch>,
}

/// A stretch of time on one track of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stretch {
    /// Start, on the recording's clock.
    pub from_ns: u64,
    /// End, on the recording's clock.
    pub to_ns: u64,
    /// E.g. `thread 1234`, `task 7`, `runtime 1`.
    pub track: String,
}

/// Somebody who was hurt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Victim {
    /// The task; `null` where a whole runtime suffers.
    pub task: Option<TaskRef>,
    /// How, e.g. `started late`.
    pub harm: String,
    /// By how much.
    pub value: f64,
    /// Unit of `value`.
    pub unit: String,
}

/// Who waits for what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// Tasks, resources and threads.
    pub nodes: Vec<Node>,
    /// Who waits for whom, and who holds what.
    pub edges: Vec<Edge>,
}

/// What a node of a graph stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeType {
    /// A task.
    Task,
    /// A lock, semaphore, channel or timer.
    Resource,
    /// A thread.
    Thread,
}

/// One node of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `t7`, `r3`.
    pub id: String,
    /// What it stands for.
    #[serde(rename = "type")]
    pub kind: NodeType,
    /// For people.
    pub label: String,
    /// Where the task was spawned or the resource was made.
    pub at: Option<Location>,
}

/// What an edge of a graph means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeType {
    /// A task waits for a resource.
    WaitsFor,
    /// A task holds a resource.
    Holds,
}

/// One edge of a graph, from a task to a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Id of the task's node.
    pub from: String,
    /// Id of the resource's node.
    pub to: String,
    /// What it means.
    #[serde(rename = "type")]
    pub kind: EdgeType,
    /// The line that waits.
    pub at: Option<Location>,
    /// How sure this edge is.
    pub confidence: Confidence,
}

/// Who observed, and what it cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observer {
    /// `hooks`, `tracing`, `watchdog`.
    pub sources: Vec<String>,
    /// `summary` or `full`.
    pub level: String,
    /// Collectors that ran beside the agent.
    pub collectors: Vec<String>,
    /// Events lost because a ring was full.
    pub dropped_events: u64,
    /// Events read.
    pub events: u64,
    /// Polls seen.
    pub polls: u64,
    /// Size of the recording on disk, 0 if unknown.
    pub bytes: u64,
    /// CPU time of the agent's own threads.
    pub agent_cpu_ms: f64,
}
