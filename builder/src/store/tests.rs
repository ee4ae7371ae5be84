use tempfile::TempDir;

use super::*;

#[test]
fn only_names_that_the_store_gives_are_its_own() {
    let key = "0123456789abcdef";
    for name in
        [plan_name(Submodule::Transformer2, PrecisionName::Fp8, key), "vision.bf16.0a.plan".into()]
    {
        assert!(is_plan(&name), "{name}");
        assert!(is_leftover(&format!("{name}.json")) && is_leftover(&format!("{name}.json.part")));
    }
    for name in
        ["my.plan", "vision.plan", "vision.bf16.xyz.plan", "a.fp8.0.plan", "vision.f32.0.plan"]
    {
        assert!(!is_plan(name), "{name}");
        assert!(!is_leftover(&format!("{name}.json")), "{name}");
    }
}

#[test]
fn files_of_others_are_not_removed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("engines");
    let store = Store::open(&root).unwrap();
    for name in ["notes.txt", "my.plan", "vision.bf16.00.plan", "vision.bf16.00.plan.part"] {
        fs::write(root.join(name), "x").unwrap();
    }
    let manifest = crate::testing::Folders::new();
    crate::build::build(
        &manifest.options(&["t2v-480p"]),
        &mut crate::testing::Fake::new(),
        &crate::testing::unwatched(),
    )
    .unwrap();
    assert_eq!(store.sweep(&manifest.manifest()).unwrap(), ["vision.bf16.00.plan"]);
    let mut left: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".lock", "my.plan", "notes.txt"]);
}
