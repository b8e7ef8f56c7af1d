//! The values of a Mooncake row, read from JSON as they come.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::workload::builder::{Builder, MAX_MS};
use crate::workload::error::Fault;

/// A JSON number as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(n) => n as f64,
            Self::Negative(n) => n as f64,
            Self::Float(x) => x,
        }
    }

    /// A token count; `12.0` is 12.
    pub fn tokens(self, name: &str) -> Result<u32, Fault> {
        let x = self.as_f64();
        let why = if x < 0.0 {
            format!("is {x}: a length cannot be negative")
        } else if x > f64::from(u32::MAX) {
            format!("is {self}: more than 4294967295 tokens")
        } else if x.fract() != 0.0 {
            format!("is {x}: not a whole number of tokens")
        } else {
            return Ok(x as u32);
        };
        Err(Fault::field(name, why, "give a whole number of tokens"))
    }

    /// An instant, ms; may be negative.
    pub fn instant_ms(self, name: &str) -> Result<f64, Fault> {
        let x = self.as_f64();
        if x.abs() <= MAX_MS {
            return Ok(x);
        }
        Err(Fault::field(name, format!("is {self}: beyond 2^53 ms"), "give milliseconds, not nanoseconds"))
    }

    /// A duration, ms; not negative.
    pub fn duration_ms(self, name: &str) -> Result<f64, Fault> {
        let x = self.instant_ms(name)?;
        if x >= 0.0 {
            // Adding 0 turns -0 into 0.
            return Ok(x + 0.0);
        }
        Err(Fault::field(name, format!("is {x} ms: a delay cannot be negative"), "give the think time in ms"))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Negative(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x:e}"),
        }
    }
}

/// The next value as a number; `None` for null.
pub(super) fn number<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Number>, A::Error> {
    map.next_value_seed(NumberSeed)
}

struct NumberSeed;

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = Option<Number>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberSeed {
    type Value = Option<Number>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Some(Number::Unsigned(n)))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Some(Number::Negative(n)))
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Self::Value, E> {
        Ok(Some(Number::Float(x)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Pushes an array of hash ids into the builder; false for null.
pub(super) struct IdsSeed<'a>(pub &'a mut Builder);

impl<'de> DeserializeSeed<'de> for IdsSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IdsSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of integers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<bool, A::Error> {
        while array.next_element_seed(IdSeed(&mut *self.0))?.is_some() {}
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

struct IdSeed<'a>(&'a mut Builder);

impl<'de> DeserializeSeed<'de> for IdSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_u64(self)
    }
}

impl<'de> Visitor<'de> for IdSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an integer of at most 64 bits")
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<(), E> {
        self.0.push_id(id);
        Ok(())
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<(), E> {
        self.0.push_negative_id(id);
        Ok(())
    }
}

/// Reads a session's name into a buffer; an integer is its own name. False for null.
pub(super) struct NameSeed<'a>(pub &'a mut String);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NameSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name (a string or an integer)")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        self.0.clear();
        self.0.push_str(name);
        Ok(true)
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<bool, E> {
        self.visit_str(&name.to_string())
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<bool, E> {
        self.visit_str(&name.to_string())
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// What a value that is not used amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// null, false, 0, "", [] or {}.
    Nothing,
    /// An array of so many.
    Array(u64),
    Something,
}

/// Reads over a value.
pub(super) struct UnusedSeed;

impl<'de> DeserializeSeed<'de> for UnusedSeed {
    type Value = Unused;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Unused, D::Error> {
        json.deserialize_any(self)
    }
}

impl UnusedSeed {
    fn unless<E>(nothing: bool) -> Result<Unused, E> {
        Ok(if nothing { Unused::Nothing } else { Unused::Something })
    }
}

impl<'de> Visitor<'de> for UnusedSeed {
    type Value = Unused;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Unused, E> {
        Self::unless(true)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Unused, E> {
        Self::unless(!flag)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Unused, E> {
        Self::unless(n == 0)
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Unused, E> {
        Self::unless(n == 0)
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Unused, E> {
        Self::unless(x == 0.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Unused, E> {
        Self::unless(text.is_empty())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Unused, A::Error> {
        let mut count = 0;
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(if count == 0 { Unused::Nothing } else { Unused::Array(count) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unused, A::Error> {
        let mut empty = true;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            empty = false;
        }
        Self::unless(empty)
    }
}
