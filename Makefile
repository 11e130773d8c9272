# make demo, make test: all you need to begin.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# Tests mostly wait for grants to end, so more of them than cores run at once.
TEST_THREADS ?= 8
# Thousands of grants that end on time want both cores for themselves.
ALONE := many:: thousands_of_ a_thousand_are_
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_targets/%.rs,%,$(wildcard tests/fuzz/fuzz_targets/*.rs))

.PHONY: build demo test bench bench-vs-original fuzz install deps

build:
	@.ci/deps build
	$(CARGO) build --locked --release

# A knock, shown step by step in two network namespaces.
demo:
	@.ci/deps demo
	@echo "building fwknop and fwknopd (some minutes the first time)"
	@$(CARGO) build --locked --quiet
	@tests/demo/run target/debug

test:
	@.ci/deps test
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked -- $(ALONE:%=--skip %)
	$(CARGO) test --locked -- --test-threads=1 $(ALONE)

# What a packet costs inside the daemon.
bench:
	@.ci/deps build
	$(CARGO) bench --locked --bench per_packet

# Ours against the original, in one run: all of it, or the parts in BENCH (common, firewall, openpgp).
bench-vs-original:
	@.ci/deps test
	$(CARGO) bench --locked --bench vs_original -- $(BENCH)

# A minute per target. Findings land in tests/fuzz/artifacts; each becomes a vector.
fuzz:
	@.ci/deps fuzz
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzz $$target"; \
		mkdir -p tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz $$target \
			tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -verbosity=0 || exit 1; \
	done

install: build
	install -d -m 755 $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin
	install -m 755 target/release/fwknop $(DESTDIR)$(PREFIX)/bin/fwknop
	install -m 755 target/release/fwknopd $(DESTDIR)$(PREFIX)/sbin/fwknopd

# All Debian packages that anything here needs.
deps:
	@.ci/deps test
	@.ci/deps fuzz

