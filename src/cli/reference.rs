//! `docs/cli.md`: the help of every command in one page.

use std::fmt::Write;

/// The page's text. `tests/docs.rs` keeps the file equal to it.
pub fn markdown() -> String {
    let mut root = super::definition();
    root.build();
    let mut page = String::from(
        "# The command line\n\n\
         <!-- Made from the definition in src/cli/mod.rs: UPDATE_DOCS=1 cargo test --test it docs -->\n\n\
         What each command answers with `--help`. Results go to standard output and nothing else does;\n\
         notes, warnings and the progress bar (only on a terminal) go to standard error.\n",
    );
    section(&root, 2, &mut page);
    page
}

fn section(command: &clap::Command, level: usize, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let help = command.clone().render_long_help().to_string();
    // Blank help lines keep their indent, which Markdown linters and diffs dislike.
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(page, "\n{} {name}\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n"));
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        section(inner, (level + 1).min(4), page);
    }
}
