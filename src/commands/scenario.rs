//! The scenarios as commands see them: found by name, with what their manifest says.

use super::Failure;
use super::nearest::nearest;
use pollscope_scenarios::Scenario;
use toml::{Table, Value};

/// The scenario called `name`; a wrong name is answered with the nearest one.
pub(crate) fn find(name: &str) -> Result<&'static Scenario, Failure> {
    let all = || pollscope_scenarios::healthy().iter().chain(pollscope_scenarios::all());
    if let Some(scenario) = all().find(|scenario| scenario.name == name) {
        return Ok(scenario);
    }
    let near = nearest(name, all().map(|scenario| scenario.name), 1);
    Err(Failure::new(match near.first() {
        Some(near) => format!("there is no scenario `{name}`; did you mean `{near}`?"),
        None => format!("there is no scenario `{name}`; `pollscope list` names them"),
    }))
}

/// What a scenario's manifest says.
pub(crate) struct Manifest(Table);

impl Manifest {
    /// Reads the manifest of `scenario`.
    pub(crate) fn of(scenario: &Scenario) -> Result<Manifest, Failure> {
        scenario
            .manifest
            .parse()
            .map(Manifest)
            .map_err(|error| Failure::cannot(format_args!("read the manifest of {}", scenario.name), error))
    }

    /// A text or number at the top; empty if it is not there.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.0.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// The table `[truth]`.
    pub(crate) fn truth(&self) -> Option<&Table> {
        self.0.get("truth").and_then(Value::as_table)
    }

    /// What a screen of tokio-console shows of it; `[console]` of the manifest.
    #[cfg(feature = "collect")]
    pub(crate) fn console(&self, screen: &str) -> Option<&str> {
        self.0.get("console")?.get(screen)?.as_str()
    }
}
