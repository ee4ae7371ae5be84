//! Rearrange patterns in the notation of einops: `b n (h d) -> b h n d`.

use std::collections::HashMap;

use crate::Dim;

/// A parsed pattern: groups of axis names on both sides.
pub(crate) struct Pattern<'p> {
    from: Vec<Vec<&'p str>>,
    to: Vec<Vec<&'p str>>,
}

/// A pattern applied to a shape: split, reorder, merge.
pub(crate) struct Axes {
    /// Shape with every group of the left side split.
    pub(crate) split: Vec<Dim>,
    /// Order of the split axes on the right side.
    pub(crate) order: Vec<usize>,
    /// Shape of the result.
    pub(crate) merged: Vec<Dim>,
}

impl<'p> Pattern<'p> {
    pub(crate) fn parse(text: &'p str) -> Result<Self, String> {
        let (from, to) = text.split_once("->").ok_or("a pattern without ->")?;
        Ok(Self { from: groups(from)?, to: groups(to)? })
    }

    pub(crate) fn plan(&self, shape: &[Dim], sizes: &[(&str, Dim)]) -> Result<Axes, String> {
        if shape.len() != self.from.len() {
            return Err(format!("{} axes on the left", self.from.len()));
        }
        let mut known: HashMap<&str, Dim> =
            sizes.iter().map(|(name, size)| (*name, size.clone())).collect();
        known.insert("1", 1.into());
        for (group, size) in self.from.iter().zip(shape) {
            solve(group, size, &mut known)?;
        }
        let names: Vec<_> = axes(&self.from).collect();
        let order = axes(&self.to)
            .map(|name| names.iter().position(|n| *n == name).ok_or(format!("no axis {name}")))
            .collect::<Result<Vec<_>, _>>()?;
        if order.len() != names.len() {
            return Err("other axes on the right than on the left".into());
        }
        let merged = self.to.iter().map(|group| product(group, &known)).collect();
        Ok(Axes { split: names.iter().map(|name| known[name].clone()).collect(), order, merged })
    }
}

/// All axis names in order, without literal ones.
fn axes<'a>(groups: &'a [Vec<&'a str>]) -> impl Iterator<Item = &'a str> {
    groups.iter().flatten().copied().filter(|name| *name != "1")
}

fn groups(side: &str) -> Result<Vec<Vec<&str>>, String> {
    let mut groups = vec![];
    let mut rest = side.trim();
    while !rest.is_empty() {
        let (group, tail) = match rest.strip_prefix('(') {
            Some(inner) => inner.split_once(')').ok_or("an open bracket")?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        groups.push(group.split_whitespace().collect());
        rest = tail.trim_start();
    }
    Ok(groups)
}

/// Finds the size of the one axis of `group` that is not known yet.
fn solve<'p>(
    group: &[&'p str],
    size: &Dim,
    known: &mut HashMap<&'p str, Dim>,
) -> Result<(), String> {
    let unknown: Vec<_> = group.iter().filter(|name| !known.contains_key(**name)).collect();
    let wrong = || format!("({}) does not divide {size}", group.join(" "));
    match unknown[..] {
        [] if product(group, known) == *size => Ok(()),
        [name] => {
            let others: Vec<_> = group.iter().copied().filter(|n| n != name).collect();
            let rest = size.div_exact(&product(&others, known)).ok_or_else(wrong)?;
            known.insert(name, rest);
            Ok(())
        }
        _ => Err(wrong()),
    }
}

fn product(group: &[&str], known: &HashMap<&str, Dim>) -> Dim {
    group.iter().fold(Dim::from(1), |size, name| &size * &known[name])
}
