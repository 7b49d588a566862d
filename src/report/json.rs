//! The diagnosis for scripts.

use crate::detect::Diagnosis;

/// `diagnosis.json`, with a final newline.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let mut json = serde_json::to_string_pretty(diagnosis).unwrap_or_default();
    json.push('\n');
    json
}
