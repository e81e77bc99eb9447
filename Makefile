# Thin: the work is in scripts/.
.PHONY: help demo run test lint bench fuzz
.DEFAULT_GOAL := help

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1: \2/p' Makefile

demo: ## a metered chat from sign-up to receipt, on a real model, in a temporary folder
	@scripts/demo

run: ## both services in the foreground on 127.0.0.1:50051 and :50052, the store in ./data, until Ctrl-C
	@scripts/run

test: ## every test; installs redis-server when it is missing
	@scripts/test

lint: ## fmt, licences, clippy and rustdoc without warnings
	@scripts/lint

bench: ## the hot path beside baselines, in ratios, on this machine; Linux only
	@scripts/bench

fuzz: ## what reads anybody's bytes, under a fuzzer, a minute each target; needs nightly
	@scripts/fuzz
