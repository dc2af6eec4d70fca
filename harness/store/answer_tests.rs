use super::*;
use crate::fixture;

#[test]
fn the_best_of_each_set_stands_with_its_distance_from_the_reference() {
    let run = fixture::run();
    let request = TableRequest {
        name: "t".into(),
        title: None,
        rows: vec![
            Column::Axis(Axis::Model),
            Column::Parameter { axis: None, name: "sparsity".into() },
            Column::Axis(Axis::Prune),
        ],
        columns: Vec::new(),
        metrics: vec!["sparsity".into(), "ppl".into()],
        conditions: Vec::new(),
        within: None,
        reference: Some(Reference::Dense),
        intervals: IntervalStyle::PlusMinus,
    };
    assert_eq!(leading_metric(&run, &request).map(|metric| metric.id.as_str()), Some("ppl"));
    let found = findings(&run, &request, 40);
    assert_eq!(findings(&run, &request, 2), [], "a table of many sets speaks for itself");
    let best: Vec<&str> = found.iter().map(|finding| finding.best[0].as_str()).collect();
    assert_eq!(best, ["wanda(sparsity=0.3)", "wanda(sparsity=0.5)", "wanda(pattern=2:4)"]);
    let first = &found[0];
    assert_eq!((first.sure, first.compared), (true, 2));
    assert_eq!(first.place, [("model".to_owned(), "tiny".to_owned()), ("sparsity".to_owned(), "0.3".to_owned())]);
    let against = first.against.as_ref().map(|against| (against.label.as_str(), against.relative));
    // Each window costs 0.02 · 1.02 nats a token more than the dense model's, on average.
    assert!(
        against.is_some_and(|(label, relative)| label == "dense" && (relative - 0.0206).abs() < 2e-4),
        "{against:?}"
    );
    assert!(first.against.as_ref().is_some_and(|against| against.interval.is_some_and(|(low, high)| low < high)));
}

#[test]
fn a_suite_without_tables_is_answered_by_its_first_metric() {
    let run = fixture::run();
    let request = default_request(&run, "one-shot");
    assert!(request.as_ref().is_some_and(|request| request.metrics == ["ppl"] && request.within == Some(Vec::new())));
    let found = request.map(|request| findings(&run, &request, 40)).unwrap_or_default();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].best, ["wanda(sparsity=0.3)"], "the dense model does not compete");
    assert_eq!(default_request(&run, "no such bench"), None);
}
