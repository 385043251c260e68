"""The operator API: routes and the shapes of their answers, the same for pages, CLI and scripts."""
