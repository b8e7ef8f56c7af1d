//! Matrix products: durations over tokens at measured widths, and in between.

use std::collections::{BTreeMap, HashMap};

use super::format::Format;
use super::rows::Rows;
use super::system::System;

/// How far a measured pair of widths may lie from the wanted one, octaves.
const REACH: f64 = 2.0;
/// How many measured pairs stand for one that was not.
const NEIGHBOURS: usize = 4;

/// Products of one format. Widths: `n` out, `k` in.
#[derive(Debug)]
pub struct Products {
    format: Format,
    /// In the order of first mention by tokens, then n, then k: it decides between equally near pairs.
    sites: Vec<Site>,
}

#[derive(Debug)]
struct Site {
    n: u32,
    k: u32,
    /// Tokens and durations, ms, never below the roofline.
    points: Vec<(f64, f64)>,
}

/// A product of given widths, ready to be asked by tokens.
#[derive(Debug)]
pub struct Product {
    ideal: Ideal,
    lenders: Vec<Lender>,
    /// Quantising activations, taken off where scales come from the checkpoint.
    less: Vec<Scales>,
}

#[derive(Debug)]
struct Lender {
    weight: f64,
    ideal: Ideal,
    points: Vec<(f64, f64)>,
}

/// The roofline of a product.
#[derive(Clone, Copy, Debug)]
struct Ideal {
    n: f64,
    k: f64,
    bytes: f64,
    operations_rate: f64,
    memory_rate: f64,
}

impl Ideal {
    fn ms(&self, m: f64) -> f64 {
        let compute = 2.0 * m * self.n * self.k / self.operations_rate;
        let memory = self.bytes * (m * self.n + m * self.k + self.n * self.k) / self.memory_rate;
        compute.max(memory) * 1e3
    }
}

fn ideal(system: &System, format: Format, n: u32, k: u32) -> Result<Ideal, String> {
    let rate = system.rate(format.rate()).ok_or_else(|| format!("this GPU has no {} arithmetic", format.name()))?;
    let (n, k) = (f64::from(n), f64::from(k));
    Ok(Ideal { n, k, bytes: format.bytes(), operations_rate: rate, memory_rate: system.memory_rate })
}

/// When a pair of widths was first mentioned, and its points.
type Found = ([usize; 3], BTreeMap<u32, f64>);

impl Products {
    /// The products of a format; sources in order of preference. `fp8_static` is made from `fp8`.
    ///
    /// # Errors
    /// When the format was not measured, or the GPU has no such arithmetic.
    pub fn new(sources: &[Rows], format: Format, system: &System) -> Result<Products, String> {
        let stored = if format == Format::Fp8Static { Format::Fp8 } else { format };
        let mut order: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut place = |path: &[u32]| {
            let next = order.len();
            *order.entry(path.to_vec()).or_insert(next)
        };
        let mut sites: HashMap<(u32, u32), Found> = HashMap::new();
        for rows in sources {
            let [m, n, k] = ["m", "n", "k"].map(|c| rows.integers(c));
            for row in (0..rows.len()).filter(|&row| rows.text("gemm_dtype", row) == stored.name()) {
                let path = [m[row], n[row], k[row]];
                let at = [place(&path[..1]), place(&path[..2]), place(&path)];
                let (first, points) = sites.entry((n[row], k[row])).or_insert_with(|| (at, BTreeMap::new()));
                *first = (*first).min(at);
                points.entry(m[row]).or_insert(rows.latency[row]);
            }
        }
        if sites.is_empty() {
            return Err(format!("matrix products in {} were not measured", format.name()));
        }
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by_key(|(_, (first, _))| *first);
        let sites = sites
            .into_iter()
            .map(|((n, k), (_, points))| {
                let ideal = ideal(system, stored, n, k)?;
                let raised = |(m, ms): (u32, f64)| (f64::from(m), ms.max(ideal.ms(f64::from(m))));
                Ok(Site { n, k, points: points.into_iter().map(raised).collect() })
            })
            .collect::<Result<_, String>>()?;
        Ok(Products { format, sites })
    }

    /// The product of widths `n` and `k`. `less` are the tables of quantising steps to take off.
    ///
    /// # Errors
    /// When nothing near was measured.
    pub fn product(&self, n: u32, k: u32, system: &System, less: Vec<Scales>) -> Result<Product, String> {
        let format = if self.format == Format::Fp8Static { Format::Fp8 } else { self.format };
        let lend = |site: &Site, weight: f64| {
            Ok(Lender { weight, ideal: ideal(system, format, site.n, site.k)?, points: site.points.clone() })
        };
        let ideal = ideal(system, format, n, k)?;
        if let Some(site) = self.sites.iter().find(|s| s.n == n && s.k == k) {
            return Ok(Product { ideal, lenders: vec![lend(site, f64::INFINITY)?], less });
        }
        let octaves = |a: u32, b: u32| (f64::from(a) / f64::from(b)).log2();
        let mut near: Vec<(f64, &Site)> =
            self.sites.iter().map(|s| (octaves(s.n, n).hypot(octaves(s.k, k)), s)).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let widest = |of: fn(&Site) -> u32| self.sites.iter().map(of).max().unwrap_or(0);
        let overflows = u32::from(n > widest(|s| s.n)) + u32::from(k > widest(|s| s.k));
        if overflows != 1 {
            near.retain(|(distance, _)| *distance <= REACH);
        }
        if near.is_empty() {
            return Err(format!("no {} product near {n} x {k} was measured", self.format.name()));
        }
        // All near ones are kept: which four count depends on the tokens that each covers.
        let lenders = near.iter().take(4 * NEIGHBOURS).map(|(d, site)| lend(site, 1.0 / (d * d)));
        Ok(Product { ideal, lenders: lenders.collect::<Result<_, String>>()?, less })
    }
}

impl Product {
    /// Duration for `m` tokens, ms.
    pub fn ms(&self, m: f64) -> f64 {
        let own = match self.lenders.as_slice() {
            [site] if site.weight.is_infinite() => along(&site.points, m, |m| site.ideal.ms(m)),
            _ => {
                let covers = |l: &&Lender| {
                    l.points.first().is_some_and(|p| p.0 <= m) && l.points.last().is_some_and(|p| m <= p.0)
                };
                let mut shares = (0.0, 0.0);
                let mut lend = |lender: &Lender| {
                    shares.0 += lender.weight;
                    shares.1 += lender.weight * lender.ideal.ms(m) / along(&lender.points, m, |m| lender.ideal.ms(m));
                };
                if self.lenders.iter().any(|l| covers(&l)) {
                    self.lenders.iter().filter(covers).take(NEIGHBOURS).for_each(&mut lend);
                } else {
                    self.lenders.iter().take(NEIGHBOURS).for_each(&mut lend);
                }
                self.ideal.ms(m) * shares.0 / shares.1
            }
        };
        if self.less.is_empty() {
            return own;
        }
        let less: f64 = self.less.iter().map(|s| s.ms(m, self.ideal.k)).sum();
        (own - less).max(self.ideal.ms(m))
    }

    /// Token counts at which the duration may bend.
    pub fn knots(&self) -> impl Iterator<Item = u32> {
        self.lenders.iter().take(NEIGHBOURS).flat_map(|l| l.points.iter().map(|p| p.0 as u32))
    }
}

/// Linear between points; outside, at the median utilisation of the three at that end.
pub(super) fn along(points: &[(f64, f64)], at: f64, ideal_ms: impl Fn(f64) -> f64) -> f64 {
    let after = points.partition_point(|(x, _)| *x < at);
    match (after.checked_sub(1).map(|i| points[i]), points.get(after)) {
        (_, Some(&(x, ms))) if x == at => ms,
        (Some((x1, y1)), Some(&(x2, y2))) => y1 + (y2 - y1) * ((at - x1) / (x2 - x1)),
        (left, _) => {
            let end =
                if left.is_some() { &points[points.len().saturating_sub(3)..] } else { &points[..points.len().min(3)] };
            let mut shares: Vec<f64> = end.iter().map(|&(x, ms)| ideal_ms(x) / ms).collect();
            shares.sort_by(f64::total_cmp);
            let middle = shares.len() / 2;
            let median =
                if shares.len() % 2 == 1 { shares[middle] } else { (shares[middle - 1] + shares[middle]) / 2.0 };
            ideal_ms(at) / median
        }
    }
}

/// Durations of a quantising step over tokens and width.
#[derive(Clone, Debug)]
pub struct Scales {
    /// Widths, each with tokens and durations.
    rows: Vec<(f64, Vec<(f64, f64)>)>,
    /// Whether it goes on growing with tokens times width beyond what was measured.
    grows: bool,
}

impl Scales {
    /// A table of `quant_dtype` fp8 steps; sources in order of preference. `None` when empty.
    pub fn new(sources: &[Rows], grows: bool) -> Option<Scales> {
        let mut points: BTreeMap<u32, BTreeMap<u32, f64>> = BTreeMap::new();
        for rows in sources {
            let [m, k] = ["m", "k"].map(|c| rows.integers(c));
            for row in (0..rows.len()).filter(|&row| rows.text("quant_dtype", row) == "fp8") {
                points.entry(k[row]).or_default().entry(m[row]).or_insert(rows.latency[row]);
            }
        }
        let line = |line: BTreeMap<u32, f64>| line.into_iter().map(|(m, ms)| (f64::from(m), ms)).collect();
        let rows: Vec<_> = points.into_iter().map(|(k, l)| (f64::from(k), line(l))).collect();
        (!rows.is_empty()).then_some(Scales { rows, grows })
    }

    /// Duration for `m` tokens of width `k`, ms: bilinear, constant outside unless it grows.
    fn ms(&self, m: f64, k: f64) -> f64 {
        let (first, last) = (&self.rows[0], &self.rows[self.rows.len() - 1]);
        let inner_k = k.clamp(first.0, last.0);
        let tokens = &first.1;
        let inner_m = m.clamp(tokens[0].0, tokens[tokens.len() - 1].0);
        let line =
            |row: &(f64, Vec<(f64, f64)>)| along(&row.1, inner_m.clamp(row.1[0].0, row.1[row.1.len() - 1].0), |_| 1.0);
        let after = self.rows.partition_point(|(x, _)| *x < inner_k);
        let ms = if self.rows[after].0 == inner_k {
            line(&self.rows[after])
        } else {
            let (left, right) = (&self.rows[after - 1], &self.rows[after]);
            let (low, high) = (line(left), line(right));
            low + (high - low) * ((inner_k - left.0) / (right.0 - left.0))
        };
        if self.grows { ms * (m * k) / (inner_m * inner_k) } else { ms }
    }
}
