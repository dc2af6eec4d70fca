#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture;

#[test]
fn hostile_text_is_only_text() {
    assert_eq!(escape("a_b & 50% {x} $y$ #1"), "a\\_b \\& 50\\% \\{x\\} \\$y\\$ \\#1");
    assert_eq!(escape("\\input{x}\n^~"), "\\textbackslash{}input\\{x\\} \\textasciicircum{}\\textasciitilde{}");
    assert_eq!(escape("µs ≤ é 字 10⁻⁵"), "$\\mu$s $\\le$ é U+5B57 10$^{-}$$^{5}$");
}

#[test]
fn columns_are_as_wide_as_their_numbers() {
    let text = latex(&fixture::ranked(), &["run r".to_owned()]);
    // 1595 ± 138 and 21.50 ± 0.13: four digits, two decimals, three uncertain digits.
    assert!(text.contains("S[table-format=4.2(3),table-space-text-post={$^{\\approx}$}]"), "{text}");
    assert!(text.contains("\\bfseries\\boldmath 21.50 \\pm 0.13 "), "{text}");
    assert!(text.contains("22.5 \\pm 1.3{$^{\\approx}$}"), "{text}");
    assert!(text.contains("1.23 \\pm 0.13 e-5") && text.contains("{failed}"), "{text}");
    assert!(text.contains("\\multicolumn{2}{c}{tiny\\_1m}") && text.contains("\\cmidrule(lr){3-4}"), "{text}");
    assert!(text.contains("\\addlinespace"), "{text}");
    assert!(text.starts_with("% Methods"), "{text}");
}

#[test]
fn every_row_has_all_its_columns() {
    for style in [IntervalStyle::PlusMinus, IntervalStyle::Range, IntervalStyle::Hidden] {
        let table = Table { intervals: style, ..fixture::ranked() };
        let text = latex(&table, &[]);
        let columns = |line: &str| {
            let spans: usize = line.matches("\\multicolumn{").count();
            let wide: usize =
                line.split("\\multicolumn{").skip(1).map(|rest| rest[..1].parse::<usize>().unwrap()).sum();
            line.matches(" & ").count() + 1 + wide - spans
        };
        let rows: Vec<usize> = text.lines().filter(|line| line.ends_with("\\\\")).map(columns).collect();
        assert!(rows.iter().all(|count| *count == rows[0]), "{style:?} {rows:?}\n{text}");
    }
}

#[test]
fn a_table_of_many_rows_breaks_over_pages() {
    let mut table = fixture::table();
    let row = table.rows[0].clone();
    table.rows = vec![row; 300];
    let text = latex(&table, &[]);
    assert!(text.contains("\\begin{longtable}") && text.contains("\\endhead"));
}

/// Compiles every form with the TeX of this machine; without one there is nothing to run.
#[test]
fn tables_compile_as_they_are() {
    if std::process::Command::new("pdflatex").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut long = fixture::table();
    long.rows = vec![long.rows[0].clone(); 300];
    let mut hostile = fixture::ranked();
    hostile.rows[0][1] = Entry::Text("\\input{x} & 50% _ ^ ~ # $ { } < > | \" µ 字 é\n".into());
    hostile.columns[2].label = "a_b %".into();
    let range = Table { intervals: IntervalStyle::Range, ..fixture::ranked() };
    let hidden = Table { intervals: IntervalStyle::Hidden, ..fixture::ranked() };
    for (name, table) in
        [("ranked", fixture::ranked()), ("range", range), ("hidden", hidden), ("long", long), ("hostile", hostile)]
    {
        let path = folder.path().join(format!("{name}.tex"));
        std::fs::write(&path, latex(&table, &["run r".to_owned()])).unwrap();
        let ran = std::process::Command::new("pdflatex")
            .args(["-interaction=nonstopmode", "-halt-on-error", &format!("{name}.tex")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stdout));
        assert!(folder.path().join(format!("{name}.pdf")).exists());
        // The fonts taken in: without the bold one, the best would look like the others.
        let fonts = String::from_utf8_lossy(&ran.stdout);
        assert!(fonts.contains("cmbx") == (name != "long"), "{name}: {fonts}");
    }
}
