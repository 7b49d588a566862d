//! Flamegraphs, by inferno.

use inferno::flamegraph::{Options, from_lines};

/// An SVG of folded stacks; without any, one that says `empty` in words.
///
/// # Errors
///
/// One sentence if the stacks cannot be drawn.
pub fn flamegraph(title: &str, unit: &str, folded: &str, empty: &str) -> Result<Vec<u8>, String> {
    // inferno refuses lines without a number and draws an error; nothing to draw is no error.
    if folded.trim().is_empty() {
        return Ok(words(title, empty).into_bytes());
    }
    let mut options = Options::default();
    options.title = title.to_owned();
    options.count_name = unit.to_owned();
    let mut svg = Vec::new();
    from_lines(&mut options, folded.lines(), &mut svg)
        .map_err(|error| format!("no flamegraph can be drawn: {error}"))?;
    Ok(svg)
}

/// An SVG of the stacks `after`, colored by what is more (red) or less (blue) than `before`.
///
/// # Errors
///
/// One sentence if the stacks cannot be drawn.
pub fn differential(title: &str, unit: &str, before: &str, after: &str, empty: &str) -> Result<Vec<u8>, String> {
    if before.trim().is_empty() && after.trim().is_empty() {
        return Ok(words(title, empty).into_bytes());
    }
    let mut folded = Vec::new();
    inferno::differential::from_readers(Default::default(), before.as_bytes(), after.as_bytes(), &mut folded)
        .map_err(|error| format!("the two runs cannot be compared: {error}"))?;
    let folded = String::from_utf8_lossy(&folded);
    // A stack the second run does not have has no width.
    if folded.lines().all(|line| line.ends_with(" 0")) {
        return Ok(words(title, "The cured twin has none of it.").into_bytes());
    }
    flamegraph(title, unit, &folded, empty)
}

/// Both texts are ours and hold nothing that XML would mind.
fn words(title: &str, sentence: &str) -> String {
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"90\" viewBox=\"0 0 1200 90\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#eeeeee\"/>\n\
         <text x=\"600\" y=\"30\" text-anchor=\"middle\" font-family=\"monospace\" font-size=\"17\">{title}</text>\n\
         <text x=\"600\" y=\"62\" text-anchor=\"middle\" font-family=\"monospace\" font-size=\"14\">{sentence}</text>\n\
         </svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_drawn() {
        let svg = flamegraph("Time", "ns", "serve;price 30\nserve 12\n", "nothing").unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.contains("<title>price (30 ns") && svg.contains("Time"), "{svg}");
    }

    #[test]
    fn differences_are_colored() {
        let svg = differential("Time", "ns", "serve;price 30\nserve 12\n", "serve 12\nserve;list 30\n", "").unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.contains("<title>list (30 ns") && svg.contains("+"), "{svg}");
        let gone = differential("Time", "ns", "serve 12\n", "", "").unwrap();
        assert!(String::from_utf8(gone).unwrap().contains("none of it"));
    }

    #[test]
    fn nothing_is_said_in_words() {
        let svg = flamegraph("Time", "ns", "\n", "It was idle.").unwrap();
        assert!(String::from_utf8(svg).unwrap().contains(">It was idle.<"));
    }

    #[test]
    fn what_is_no_stack_is_refused() {
        assert!(flamegraph("Time", "ns", "dear reader", "nothing").is_err());
    }
}
