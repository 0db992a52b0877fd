"""Solvers and measures that know no body: Levenberg-Marquardt, the compiled-code cache, error metrics."""
