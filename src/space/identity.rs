//! What a candidate is called: its id, its knobs in words, its knobs as TOML.

use std::cmp::Ordering;
use std::fmt::Write;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::{Candidate, Knob, Space, Value};

/// Hexadecimal digits of a candidate's id.
pub const ID_DIGITS: usize = 12;

/// Digits of an id that are enough where no other begins with them.
pub const ID_DIGITS_ENOUGH: usize = 4;

/// The one of `ids` that begins with `given`, in either case of letters.
///
/// # Errors
/// What is wrong with `given`, to follow the name of the run.
pub fn by_prefix<T>(ids: impl IntoIterator<Item = (String, T)>, given: &str) -> Result<T, String> {
    if given.len() < ID_DIGITS_ENOUGH || !given.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!(
            "`{given}` is not an id of a candidate: they are {ID_DIGITS} hexadecimal digits, of which the first \
             {ID_DIGITS_ENOUGH} or more are enough"
        ));
    }
    let wanted = given.to_ascii_lowercase();
    let mut matching = ids.into_iter().filter(|(id, _)| id.starts_with(&wanted)).map(|(_, what)| what);
    match (matching.next(), matching.next()) {
        (Some(what), None) => Ok(what),
        (Some(_), Some(_)) => {
            Err(format!("more than one candidate has an id that begins with `{given}`: give more of it"))
        }
        (None, _) => Err(format!("no candidate has an id that begins with `{given}`")),
    }
}

impl Space {
    /// The candidate's id: the first 12 hexadecimal digits of the SHA-256 of its active knobs as
    /// `name=value` lines sorted by name. Neither the order of knobs, nor the other levels of their
    /// domains, nor absent knobs change it.
    pub fn id(&self, candidate: &Candidate) -> String {
        let mut knobs: Vec<(&str, &Value)> = self.active(candidate).collect();
        knobs.sort_unstable_by(|(a, _), (b, _)| by_line(a, b));
        let mut lines = String::with_capacity(32 * knobs.len());
        for (name, value) in knobs {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name}={value}");
        }
        let digits = digits(&Sha256::digest(lines.as_bytes()));
        digits.map(char::from).iter().collect()
    }

    /// What tells the ids of many candidates.
    pub fn ids(&self) -> Ids {
        let mut order: Vec<usize> = (0..self.knobs.len()).collect();
        order.sort_unstable_by(|&a, &b| by_line(&self.knobs[a].name, &self.knobs[b].name));
        let lines = |knob: usize| {
            let Knob { name, domain, conditions, .. } = &self.knobs[knob];
            let lines: Vec<String> = domain.values.iter().map(|value| format!("{name}={value}\n")).collect();
            let ways = if lines.len() > 1 { lines.len() + usize::from(!conditions.is_empty()) } else { 1 };
            Lines { knob, lines, ways }
        };
        let lines: Vec<Lines> = order.into_iter().map(lines).collect();
        // As many knobs as have few enough combinations.
        let ways = lines.iter().scan(1usize, |all, lines| {
            *all = all.saturating_mul(lines.ways);
            Some(*all)
        });
        let ways: Vec<usize> = ways.take_while(|&all| all <= MOST_BEGUN).collect();
        let begun = ways.last().map_or(1, |&all| all);
        Ids { first: ways.len(), lines, begun: (0..begun).map(|_| OnceLock::new()).collect() }
    }

    /// Name and value of each active knob, in knob order.
    pub fn describe(&self, candidate: &Candidate) -> Vec<(&str, String)> {
        self.active(candidate).map(|(name, value)| (name, value.to_string())).collect()
    }

    /// The candidate as a `[knobs]` table with every active knob pinned.
    pub fn to_toml(&self, candidate: &Candidate) -> String {
        let mut out = String::from("[knobs]\n");
        for (name, value) in self.active(candidate) {
            let _ = writeln!(out, "{name} = {}", value.to_toml());
        }
        out
    }

    fn active(&self, candidate: &Candidate) -> impl Iterator<Item = (&str, &Value)> {
        self.knobs.iter().enumerate().filter_map(|(i, k)| Some((k.name.as_str(), self.value(candidate, i)?)))
    }
}

/// Most beginnings of texts whose hashing is kept: a few megabytes.
const MOST_BEGUN: usize = 1 << 14;

/// What a knob adds to the text that is hashed.
#[derive(Debug)]
struct Lines {
    knob: usize,
    /// Of each value.
    lines: Vec<String>,
    /// How many levels it is expected to have, absent among them: one where it is pinned.
    ways: usize,
}

/// The levels of the first knobs of a text, and the hash of their lines.
type Begun = (Box<[u32]>, Sha256);

/// Tells ids as [`Space::id`] does, a million in a few seconds.
#[derive(Debug)]
pub struct Ids {
    /// In the order of the text that is hashed.
    lines: Vec<Lines>,
    /// Knobs in the beginning of the text, of which many candidates have the same.
    first: usize,
    /// What came first at each place that the levels of those have.
    begun: Vec<OnceLock<Begun>>,
}

impl Ids {
    /// The id of a candidate, as [`Space::id`] tells it.
    pub fn text(&self, candidate: &Candidate) -> String {
        self.of(candidate).map(char::from).iter().collect()
    }

    /// The id of a candidate, in ASCII.
    pub fn of(&self, candidate: &Candidate) -> [u8; ID_DIGITS] {
        let level = |of: &Lines| candidate.levels[of.knob];
        let update = |mut hash: Sha256, of: &Lines| {
            if let Some(line) = of.lines.get(level(of) as usize) {
                hash.update(line);
            }
            hash
        };
        let (first, rest) = self.lines.split_at(self.first);
        let begin = || first.iter().fold(Sha256::new(), update);
        let place = first.iter().try_fold(0, |place, of| {
            let way = if of.ways == 1 { 0 } else { (level(of) as usize).min(of.lines.len()) };
            (way < of.ways).then_some(place * of.ways + way)
        });
        let kept = place.map(|place| self.begun[place].get_or_init(|| (first.iter().map(level).collect(), begin())));
        // Another beginning may have come first there: a pinned knob is absent or not as its gate has it.
        let same = kept.filter(|(levels, _)| first.iter().map(level).eq(levels.iter().copied()));
        let begun = same.map_or_else(begin, |(_, hash)| hash.clone());
        digits(&rest.iter().fold(begun, update).finalize())
    }
}

/// The order of names in the text that is hashed: that of the lines, in which `=` follows the name.
fn by_line(a: &str, b: &str) -> Ordering {
    a.bytes().chain([b'=']).cmp(b.bytes().chain([b'=']))
}

/// The first digits of a digest, in ASCII.
fn digits(digest: &[u8]) -> [u8; ID_DIGITS] {
    std::array::from_fn(|i| {
        let half = if i % 2 == 0 { digest[i / 2] >> 4 } else { digest[i / 2] & 15 };
        b"0123456789abcdef"[usize::from(half)]
    })
}

impl Value {
    /// The value as a TOML literal: text quoted, reals with a point.
    pub fn to_toml(&self) -> String {
        match self {
            Value::Bool(v) => v.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Real(v) => format!("{v:?}"),
            Value::Text(v) => toml::Value::String(v.clone()).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::knob::tests::any_levels;
    use super::super::{Condition, Domain, Knob};
    use super::*;

    fn text(name: &str, values: &[&str]) -> Knob {
        Knob {
            name: name.into(),
            domain: Domain {
                values: values.iter().map(|v| Value::Text((*v).into())).collect(),
                ordered: false,
                log: false,
            },
            conditions: vec![],
            block: "router".into(),
        }
    }

    #[test]
    fn id_does_not_depend_on_knob_order_nor_on_the_rest_of_the_domain() {
        let (a, b) = (text("a", &["x", "y"]), text("b", &["p", "q"]));
        let ab = Space { knobs: vec![a.clone(), b] };
        let ba = Space { knobs: vec![text("b", &["q"]), a] };
        assert_eq!(ab.id(&Candidate { levels: [1, 1].into() }), ba.id(&Candidate { levels: [0, 1].into() }));
    }

    #[test]
    fn id_is_the_documented_hash() {
        // printf 'a=x\nb=p\n' | sha256sum
        let space = Space { knobs: vec![text("b", &["p"]), text("a", &["x"])] };
        assert_eq!(space.id(&Candidate { levels: [0, 0].into() }), "b947db5a8fd2");
    }

    proptest! {
        #[test]
        fn ids_of_many_are_those_of_each(all in prop::collection::vec(prop::collection::vec(0u32..4, 4), 1..9)) {
            // One name is a beginning of another, and `.` comes before `=`. The last is pinned.
            let mut space = Space { knobs: ["ab", "a", "ab.c"].map(|name| text(name, &["x", "y", "z"])).to_vec() };
            space.knobs.push(text("aa", &["x"]));
            let ids = space.ids();
            for mut levels in all {
                levels[3] = if levels[3] == 3 { 3 } else { 0 };
                let levels: Vec<u32> =
                    levels.into_iter().map(|level| if level == 3 { Candidate::ABSENT } else { level }).collect();
                let candidate = Candidate { levels: levels.into() };
                prop_assert_eq!(ids.text(&candidate), space.id(&candidate));
            }
        }
    }

    #[test]
    fn a_beginning_is_enough_where_it_is_of_one() {
        let ids = || [("00aa11bb22cc", 1), ("00aa33dd44ee", 2)].map(|(id, n)| (id.to_owned(), n));
        assert_eq!(by_prefix(ids(), "00AA1"), Ok(1));
        assert_eq!(by_prefix(ids(), "00aa33dd44ee"), Ok(2));
        let says = |given: &str| by_prefix(ids(), given).unwrap_err();
        assert!(says("00aa").contains("more than one"));
        assert!(says("00ab").contains("no candidate"));
        for wrong in ["00a", "", "zzzz", "00aa11bb22cc0x"] {
            assert!(says(wrong).contains("12 hexadecimal digits"), "{wrong}");
        }
    }

    #[test]
    fn toml_round_trips_every_kind_of_value() {
        let one = |name: &str, value| Knob {
            domain: Domain { values: vec![value], ordered: true, log: false },
            ..text(name, &[])
        };
        let space = Space {
            knobs: vec![
                one("engine.a", Value::Bool(true)),
                one("engine.b", Value::Int(-3)),
                one("engine.c", Value::Real(1.0)),
                one("engine.d", Value::Text("a \"quoted\" \\ one".into())),
                Knob { conditions: vec![Condition { knob: 0, levels: vec![] }], ..one("engine.e", Value::Int(1)) },
            ],
        };
        let text = space.to_toml(&space.canonical(&[0; 5]));
        let parsed: toml::Table = text.parse().expect(&text);
        let engine = &parsed["knobs"]["engine"];
        assert_eq!(engine["a"], toml::Value::Boolean(true));
        assert_eq!(engine["b"], toml::Value::Integer(-3));
        assert_eq!(engine["c"], toml::Value::Float(1.0));
        assert_eq!(engine["d"].as_str(), Some("a \"quoted\" \\ one"));
        assert!(engine.get("e").is_none(), "absent knobs are not written");
    }

    proptest! {
        #[test]
        fn different_candidates_have_different_ids((space, levels) in any_levels()) {
            let here = space.canonical(&levels);
            for n in space.one_step_neighbours(&here) {
                prop_assert!(space.id(&n) != space.id(&here));
            }
        }
    }
}
