//! What every drawing shares: it needs nothing else, on a light or a dark page.

/// Width of a drawing in pixels.
pub const WIDTH: f64 = 760.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.quiet{fill:#59636e}\
    .title{font-weight:600}.ours{fill:#1a7f37}.peer{fill:#9aa4af}.grid{stroke:#9aa4af55}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}\
    .ours{fill:#3fb950}.peer{fill:#656c76}}";

/// One colour for each thing, whatever the page; the last is for all that are left.
pub const COLOURS: [&str; 8] =
    ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#b07aa1", "#c9a227", "#8a8f98"];

/// A whole drawing; `label` says what it shows to those who do not see it.
pub fn page(label: &str, body: &str, height: f64) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{label}' \
         viewBox='-10 -10 {} {}' width='{}'><style>{STYLE}</style>\n{body}</svg>\n",
        WIDTH + 20.0,
        height + 20.0,
        WIDTH + 20.0
    )
}
