//! The folders of a comparison: opened, named, and checked before anything runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bernini_runner::package::{Folder, Package};
use bernini_runner::verify::{Comparison, SideReport, check_floor, check_pair, limits, same_units};

use super::super::run::package;
use crate::args::VerifyArgs;

/// Name of the floor in the report.
const FLOOR: &str = "floor";

/// A folder and what is known of it so far.
pub struct Other {
    pub folder: Folder,
    pub package: Package,
    pub report: Comparison,
}

/// All folders of a comparison.
pub struct Folders {
    pub a: Folder,
    pub package: Package,
    /// The floor, if there is one, then the options.
    pub others: Vec<Other>,
    pub has_floor: bool,
    /// Whether experts need the keys and values of their own folder's context.
    pub own_contexts: bool,
}

impl Folders {
    pub fn open(args: &VerifyArgs) -> anyhow::Result<Self> {
        let a = Folder::open(&args.run.flags.folder).context("A")?;
        let mut others = vec![];
        if let Some(path) = &args.flags.floor {
            let floor = other(&a, FLOOR, path, None)?;
            check_floor(&a, &floor.folder)?;
            others.push(floor);
        }
        for (path, name) in args.flags.others.iter().zip(names(&args.flags.others)?) {
            others.push(other(&a, &name, path, args.flags.limit)?);
        }
        let own_contexts = others.iter().any(|other| !same_units(&a, &other.folder));
        let (package, has_floor) = (package(&a).context("A")?, args.flags.floor.is_some());
        Ok(Self { a, package, others, has_floor, own_contexts })
    }

    /// All folders; A first.
    pub fn all(&self) -> impl Iterator<Item = &Folder> {
        std::iter::once(&self.a).chain(self.others.iter().map(|other| &other.folder))
    }
}

fn other(a: &Folder, name: &str, path: &Path, limit: Option<f64>) -> anyhow::Result<Other> {
    let open = || -> anyhow::Result<Other> {
        let folder = Folder::open(path)?;
        let warnings = check_pair(a, name, &folder)?;
        let (of_a, side) = (SideReport::new(a), SideReport::new(&folder));
        let limit = limits(of_a.precision, side.precision, limit);
        let report = Comparison::new(name.into(), side, warnings, limit);
        Ok(Other { package: package(&folder)?, folder, report })
    };
    open().with_context(|| name.to_string())
}

/// What each folder is called: as many of the last parts of its path as it takes to tell them apart.
fn names(paths: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let parts = |path: &Path, count: usize| {
        let parts: Vec<_> = path.components().map(|part| part.as_os_str()).collect();
        let last: PathBuf = parts[parts.len().saturating_sub(count)..].iter().collect();
        last.display().to_string()
    };
    let longest = paths.iter().map(|path| path.components().count()).max().unwrap_or(0);
    for count in 1..=longest {
        let names: Vec<String> = paths.iter().map(|path| parts(path, count)).collect();
        let alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
        if names.iter().all(|name| alone(name) && name != FLOOR) {
            return Ok(names);
        }
    }
    let all: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    bail!("{}: expected different folders to compare, none called {FLOOR}", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_called_by_as_much_of_their_path_as_tells_them_apart() {
        let named = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
            names(&paths).ok()
        };
        assert_eq!(
            named(&["x/plain", "x/balanced/"]),
            Some(vec!["plain".into(), "balanced".into()])
        );
        let same_ends = ["x/plain/engines", "balanced/engines"];
        let told_apart = same_ends.map(|path| path.trim_start_matches("x/").to_string());
        assert_eq!(named(&same_ends), Some(told_apart.into()));
        assert_eq!(named(&["x/a", "x/a"]), None);
        assert_eq!(named(&["floor"]), None);
        assert_eq!(named(&["x/floor"]), Some(vec!["x/floor".into()]));
    }
}
