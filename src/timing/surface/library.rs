//! The measured tables in memory, and the packed form in which they lie in the binary.
//!
//! The packed form is little-endian, without compression, so that the same tables always give the
//! same bytes:
//!
//! ```text
//! "SVSURF01"
//! attribution        text
//! strings            count u16, texts: every name that configurations refer to
//! decode axes        batch list, context list      (lists: count u16, then increments as varints)
//! context axes       batch list, length list
//! curves             count u16, each: knot list, one code per knot
//! decode tables      count u16, each: codes, row-major [batch][context]
//! context tables     count u16, each: codes, row-major [batch][length]
//! configurations     count u16, each: five string indices u8, moe u8, tp u8, layers u8,
//!                    flags u8, constant f32, four table indices u16
//! text               length u16, UTF-8
//! code               u16: milliseconds = 2^(code / 2800 - 8), from 4 us to 43 s in steps of 0.025%
//! ```

use std::sync::LazyLock;

use super::cells;
use super::parts::{Knots, Parts};
use super::select::Selection;

/// Steps per doubling of the logarithmic code.
const STEPS_PER_OCTAVE: f64 = 2800.0;
/// Logarithm to base 2 of the smallest duration, ms.
const FIRST_OCTAVE: f64 = -8.0;
const MAGIC: &[u8; 8] = b"SVSURF01";

/// Durations over an increasing integer coordinate, linear in between.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub knots: Vec<u32>,
    pub codes: Vec<u16>,
}

/// Two increasing axes of an attention table.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Axes {
    pub batch: Vec<u32>,
    /// Context per sequence (decode), or sequence length (prefill), tokens.
    pub length: Vec<u32>,
}

/// Which layout of experts over GPUs was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MoeLayout {
    /// A dense model.
    Dense,
    /// Every expert is split over all GPUs.
    TensorParallel,
    /// Every GPU holds whole experts.
    ExpertParallel,
}

/// The tables of one measured configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub system: String,
    pub backend: String,
    /// Version of the backend.
    pub version: String,
    /// Catalogue name of the model.
    pub model: String,
    /// Quantisation, in the source's words.
    pub quant: String,
    pub moe: MoeLayout,
    pub tp: u8,
    pub layers: u8,
    /// Whether the source counts the language-model head in passes that prefill.
    pub prefill_samples: bool,
    /// Part of context attention that depends on nothing, ms per pass.
    pub context_constant_ms: f32,
    /// Index of the curve of everything but attention and head, over tokens in the pass.
    pub tokens_curve: u16,
    /// Index of the curve of the language-model head, over sampled sequences.
    pub sampled_curve: u16,
    /// Index of the table of decode attention, ms per layer.
    pub decode_table: u16,
    /// Index of the table of context attention, ms per layer.
    pub context_table: u16,
}

/// All measured tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Library {
    /// Whose measurements these are, under which licence, and what was done to them.
    pub attribution: String,
    pub decode_axes: Axes,
    pub context_axes: Axes,
    pub curves: Vec<Curve>,
    pub decode_tables: Vec<Vec<u16>>,
    pub context_tables: Vec<Vec<u16>>,
    pub configurations: Vec<Measured>,
}

/// The tables in the binary.
pub fn embedded() -> &'static Library {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
        Library::unpack(include_bytes!("../data/surfaces.bin"))
            .expect("the embedded tables are whole: a test unpacks them")
    });
    &LIBRARY
}

/// The code nearest to a duration; `None` outside the range.
pub fn encode_ms(ms: f64) -> Option<u16> {
    let code = ((ms.log2() - FIRST_OCTAVE) * STEPS_PER_OCTAVE).round();
    (code >= 0.0 && code <= f64::from(u16::MAX)).then_some(code as u16)
}

/// The duration of a code, ms.
pub fn decode_ms(code: u16) -> f64 {
    (f64::from(code) / STEPS_PER_OCTAVE + FIRST_OCTAVE).exp2()
}

impl Library {
    /// The tables of a selection at their knots.
    pub(super) fn parts(&self, selection: Selection) -> Parts {
        let (products, attention) =
            (&self.configurations[selection.products], &self.configurations[selection.attention]);
        let knots = |index: u16| -> Knots {
            let curve = &self.curves[usize::from(index)];
            curve.knots.iter().zip(&curve.codes).map(|(&x, &code)| (f64::from(x), decode_ms(code))).collect()
        };
        let layers = f64::from(attention.layers);
        let table = |codes: &[u16]| codes.iter().map(|&c| layers * decode_ms(c)).collect();
        let layout = match products.moe {
            MoeLayout::Dense => "",
            MoeLayout::TensorParallel => ", experts split",
            MoeLayout::ExpertParallel => ", experts whole",
        };
        let mut label = format!("{} {} {}{layout}", products.backend, products.version, products.quant);
        if attention.quant != products.quant || attention.backend != products.backend {
            label += &format!("; attention of {} {}", attention.backend, attention.quant);
        }
        Parts {
            tokens: knots(products.tokens_curve),
            decode_tokens: None,
            sampled: knots(products.sampled_curve),
            decode_axes: self.decode_axes.clone(),
            decode: table(&self.decode_tables[usize::from(attention.decode_table)]),
            context_axes: self.context_axes.clone(),
            context: table(&self.context_tables[usize::from(attention.context_table)]),
            context_constant_ms: f64::from(attention.context_constant_ms),
            prefill_samples: products.prefill_samples,
            label,
            source: self.attribution.clone(),
        }
    }

    /// The packed form.
    ///
    /// # Errors
    /// When there are more tables, names or layers than the format can count.
    pub fn pack(&self) -> Result<Vec<u8>, String> {
        let mut strings: Vec<&str> = Vec::new();
        let mut out = Writer(MAGIC.to_vec());
        out.text(&self.attribution)?;
        for c in &self.configurations {
            for name in c.names() {
                if !strings.contains(&name) {
                    strings.push(name);
                }
            }
        }
        out.count(strings.len())?;
        strings.iter().try_for_each(|s| out.text(s))?;
        for axes in [&self.decode_axes, &self.context_axes] {
            out.list(&axes.batch)?;
            out.list(&axes.length)?;
        }
        out.count(self.curves.len())?;
        for curve in &self.curves {
            out.list(&curve.knots)?;
            out.codes(&curve.codes);
        }
        for tables in [&self.decode_tables, &self.context_tables] {
            out.count(tables.len())?;
            tables.iter().for_each(|t| out.codes(t));
        }
        out.count(self.configurations.len())?;
        for c in &self.configurations {
            for name in c.names() {
                let index = strings.iter().position(|s| *s == name).expect("collected above");
                out.0.push(u8::try_from(index).map_err(|_| "more than 256 names")?);
            }
            out.0.extend([c.moe as u8, c.tp, c.layers, u8::from(c.prefill_samples)]);
            out.0.extend(c.context_constant_ms.to_le_bytes());
            out.codes(&[c.tokens_curve, c.sampled_curve, c.decode_table, c.context_table]);
        }
        Ok(out.0)
    }

    /// Reads the packed form.
    ///
    /// # Errors
    /// When the bytes are not such a library, or end early.
    pub fn unpack(bytes: &[u8]) -> Result<Library, String> {
        let mut input = Reader(bytes);
        if input.take(MAGIC.len())? != MAGIC {
            return Err("not a library of timing tables: it does not start with SVSURF01".into());
        }
        let attribution = input.text()?;
        let strings = (0..input.u16()?).map(|_| input.text()).collect::<Result<Vec<_>, _>>()?;
        let mut axes = || Ok::<_, String>(Axes { batch: input.list()?, length: input.list()? });
        let (decode_axes, context_axes) = (axes()?, axes()?);
        cells::check_axes::<2>(&decode_axes)?;
        cells::check_axes::<4>(&context_axes)?;
        let mut curves = Vec::new();
        for _ in 0..input.u16()? {
            let knots = input.list()?;
            let codes = input.codes(knots.len())?;
            curves.push(Curve { knots, codes });
        }
        let mut tables = |axes: &Axes| {
            let size = axes.batch.len() * axes.length.len();
            (0..input.u16()?).map(|_| input.codes(size)).collect::<Result<Vec<_>, _>>()
        };
        let (decode_tables, context_tables) = (tables(&decode_axes)?, tables(&context_axes)?);
        let mut configurations = Vec::new();
        for _ in 0..input.u16()? {
            let mut name = || {
                let index = usize::from(input.u8()?);
                strings.get(index).cloned().ok_or_else(|| format!("there is no name {index}"))
            };
            let (system, backend, version, model, quant) = (name()?, name()?, name()?, name()?, name()?);
            let moe = match input.u8()? {
                0 => MoeLayout::Dense,
                1 => MoeLayout::TensorParallel,
                2 => MoeLayout::ExpertParallel,
                other => return Err(format!("there is no expert layout {other}")),
            };
            let (tp, layers, prefill_samples) = (input.u8()?, input.u8()?, input.u8()? != 0);
            let context_constant_ms = f32::from_le_bytes(input.take(4)?.try_into().expect("four bytes"));
            let indices = input.codes(4)?;
            let limits = [curves.len(), curves.len(), decode_tables.len(), context_tables.len()];
            if indices.iter().zip(limits).any(|(i, limit)| usize::from(*i) >= limit) {
                return Err("a configuration refers to a table that is not there".into());
            }
            configurations.push(Measured {
                system,
                backend,
                version,
                model,
                quant,
                moe,
                tp,
                layers,
                prefill_samples,
                context_constant_ms,
                tokens_curve: indices[0],
                sampled_curve: indices[1],
                decode_table: indices[2],
                context_table: indices[3],
            });
        }
        if !input.0.is_empty() {
            return Err(format!("{} bytes too many", input.0.len()));
        }
        Ok(Library { attribution, decode_axes, context_axes, curves, decode_tables, context_tables, configurations })
    }
}

impl Measured {
    fn names(&self) -> [&str; 5] {
        [&self.system, &self.backend, &self.version, &self.model, &self.quant]
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn count(&mut self, count: usize) -> Result<(), String> {
        let count = u16::try_from(count).map_err(|_| format!("{count} entries are too many"))?;
        self.0.extend(count.to_le_bytes());
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        self.count(text.len())?;
        self.0.extend(text.as_bytes());
        Ok(())
    }

    fn list(&mut self, values: &[u32]) -> Result<(), String> {
        self.count(values.len())?;
        let mut last = 0;
        for &value in values {
            let mut step = value.checked_sub(last).ok_or("a list must increase")?;
            last = value;
            while step >= 0x80 {
                self.0.push(step as u8 | 0x80);
                step >>= 7;
            }
            self.0.push(step as u8);
        }
        Ok(())
    }

    fn codes(&mut self, codes: &[u16]) {
        self.0.extend(codes.iter().flat_map(|c| c.to_le_bytes()));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(count).ok_or("the library ends early")?;
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(self.codes(1)?[0])
    }

    fn text(&mut self) -> Result<String, String> {
        let length = usize::from(self.u16()?);
        String::from_utf8(self.take(length)?.to_vec()).map_err(|e| e.to_string())
    }

    fn list(&mut self) -> Result<Vec<u32>, String> {
        let mut values = Vec::new();
        let mut last = 0u32;
        for _ in 0..self.u16()? {
            let mut step = 0u32;
            for shift in (0..32).step_by(7) {
                let byte = self.u8()?;
                step |= u32::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            last = last.checked_add(step).ok_or("a list exceeds 32 bits")?;
            values.push(last);
        }
        Ok(values)
    }

    fn codes(&mut self, count: usize) -> Result<Vec<u16>, String> {
        Ok(self.take(2 * count)?.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_library_is_whole_and_packs_to_its_own_bytes() {
        let bytes: &[u8] = include_bytes!("../data/surfaces.bin");
        assert!(bytes.len() < 300_000, "{} bytes", bytes.len());
        let library = Library::unpack(bytes).unwrap();
        assert_eq!(library.pack().unwrap(), bytes);
        assert_eq!(&library, embedded());
        assert!(library.attribution.contains("Apache-2.0"));
    }

    #[test]
    fn damaged_libraries_are_refused() {
        let bytes = embedded().pack().unwrap();
        assert!(Library::unpack(b"parquet?").unwrap_err().contains("SVSURF01"));
        for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(Library::unpack(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Library::unpack(&[&bytes[..], &[0]].concat()).unwrap_err().contains("too many"));
    }

    #[test]
    fn codes_are_within_a_hundredth_of_a_percent() {
        for ms in [0.004, 0.0123, 1.0, 33.3, 40_000.0] {
            assert!((decode_ms(encode_ms(ms).unwrap()) / ms - 1.0).abs() < 1.3e-4);
        }
        assert_eq!(encode_ms(0.0), None);
        assert_eq!(encode_ms(1e6), None);
        assert_eq!(encode_ms(f64::NAN), None);
    }
}
