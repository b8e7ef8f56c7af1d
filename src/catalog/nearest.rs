//! The legal name that a mistyped one was probably meant to be.

/// The candidate with the smallest edit distance to `name`, ignoring case; the first of equals.
/// `None` when there are no candidates.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    candidates.into_iter().min_by_key(|c| edit_distance(&wanted, &c.to_lowercase().chars().collect::<Vec<_>>()))
}

/// Insertions, deletions and substitutions that turn one string into the other (Levenshtein).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let distance = |a: &str, b: &str| edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn offers_the_closest_name() {
        assert_eq!(nearest("H200_SMX", ["h100_sxm", "h200_sxm", "l40s"]), Some("h200_sxm"));
        assert_eq!(nearest("x", []), None);
    }
}
