//! Flamegraphs, by inferno.

use inferno::flamegraph::{Options, from_lines};

/// An SVG of folded stacks; without any, one that says `empty` in words.
pub(super) fn flamegraph(title: &str, unit: &str, folded: &str, empty: &str) -> Result<Vec<u8>, String> {
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
    fn nothing_is_said_in_words() {
        let svg = flamegraph("Time", "ns", "\n", "It was idle.").unwrap();
        assert!(String::from_utf8(svg).unwrap().contains(">It was idle.<"));
    }

    #[test]
    fn what_is_no_stack_is_refused() {
        assert!(flamegraph("Time", "ns", "dear reader", "nothing").is_err());
    }
}
