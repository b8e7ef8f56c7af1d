//! The legal name that a mistyped one was probably meant to be.

/// The legal name closest to `given`, when it is close enough to be what was meant: at most a third
/// of its characters differ, case aside, or one is the beginning of the other. The first of equally
/// close ones.
pub(crate) fn nearest<'a>(given: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let most = (given.chars().count() / 3).clamp(1, FARTHEST);
    let rank = |name: &str| match distance(&given, name) {
        d if d <= most => Some(d),
        _ if given.len().min(name.len()) > 2 && (given.starts_with(name) || name.starts_with(&given)) => {
            Some(FARTHEST + 1)
        }
        _ => None,
    };
    legal
        .into_iter()
        .filter_map(|name| Some((rank(&name.to_lowercase())?, name)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name)
}

/// Most edits that are still taken for a slip.
const FARTHEST: usize = 4;

/// Insertions, deletions, substitutions and swaps of neighbours that turn one string into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Hostile input must not cost quadratic time.
    if a.len().abs_diff(b.len()) > FARTHEST || a.len() > 200 {
        return usize::MAX;
    }
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, last, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

/// `"did you mean `x`?"`, or the legal names in a row when none is near.
pub(crate) fn did_you_mean(given: &str, legal: &[&str]) -> String {
    match nearest(given, legal.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => one_of(legal),
    }
}

/// The legal names in a row.
pub(crate) fn one_of(legal: &[&str]) -> String {
    match legal {
        [only] => format!("the only one is `{only}`"),
        _ => format!("write one of {}", list(legal)),
    }
}

/// Names in backticks, separated by commas.
pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits_and_swaps() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("budegt", "budget"), 1);
    }

    #[test]
    fn offers_only_what_is_near() {
        let legal = ["engine.max_num_seqs", "engine.block_size"];
        assert_eq!(nearest("engine.max_num_seq", legal), Some("engine.max_num_seqs"));
        assert_eq!(nearest("ENGINE.BLOCKSIZE", legal), Some("engine.block_size"));
        assert_eq!(nearest("ttft_p90", ["ttft_mean_ms", "ttft_p90_ms"]), Some("ttft_p90_ms"));
        assert_eq!(nearest("something.else", legal), None);
        assert_eq!(nearest(&"x".repeat(100_000), legal), None);
    }
}
