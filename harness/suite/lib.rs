//! Suite files: spanned parsing, resolution against the registry, sweeps, the plan tree, the JSON schema.
