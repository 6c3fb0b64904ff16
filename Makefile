# One set of build flags everywhere: other flags would split the build cache.
export GOFLAGS := -buildvcs=false
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT_VERSION := v2.15.0
BIN := bin/atoll

# Packages whose tests drive whole processes: built without the race detector.
E2E := ./test/e2e/...
# Packages whose tests lay networks of processes; they need root.
LAB := ./test/mesh ./test/scale ./test/interop ./test/probe ./lab/archipelago
GOTESTSUM := go run gotest.tools/gotestsum@v1.13.0
# Sixty whole processes want more of a machine than other work leaves; test-long
# plays them.
UNSTEADY := TestCrowd

.PHONY: help run lab build test test-unit test-ui test-flows ui-speed screens test-e2e test-lab test-long others vet lint bench fuzz ui generate clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build and start the demo: three islands, a sample shop, something broken every few minutes
	$(BIN) demo

lab: build ## build and start six islands in three regions behind two NATs; needs root
	CGO_ENABLED=0 go run ./lab/archipelago -atoll $(BIN)

build: ui ## build bin/atoll
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/atoll

test: vet test-ui test-unit test-flows test-e2e test-lab ## everything that must pass before a change lands

vet: ## formatting and go vet
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'ed:"; echo "$$out"; exit 1; fi
	CGO_ENABLED=0 go vet ./...
	cd bench && CGO_ENABLED=0 go vet ./...

# These play thousands of random schedules: all of them as they are, some with the
# race detector.
CHECKERS = ./aggregate/conform ./aggregate/share ./aggregate/home ./query/global

test-unit: ## unit and integration tests with the race detector, checkers without it
	go test -race $$(go list ./... | grep -v -e /test/e2e -e /test/mesh -e /test/scale -e /test/interop -e /test/probe -e /lab/archipelago $(patsubst ./%,-e '%$$',$(CHECKERS)))
	go test -race -short $(CHECKERS)
	CGO_ENABLED=0 go test $(CHECKERS)

# Where Chromium is missing, root on Debian gets it; ATOLL_CHROMIUM names another one.
CHROMIUM = $(or $(ATOLL_CHROMIUM),/usr/bin/chromium)
test-flows: build ## the portal's flows in Chromium against three real islands
	@[ -x "$(CHROMIUM)" ] || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq --no-install-recommends chromium; } || true
	@if [ -x "$(CHROMIUM)" ]; then cd ui && npx --no-install playwright test; \
	else echo "SKIP the portal's flows: no Chromium at $(CHROMIUM); install it, or name one with ATOLL_CHROMIUM"; fi

ui-speed: build ## how fast the portal is in Chromium: figures for docs/benchmarks.md
	cd ui && ATOLL_SPEED=1 npx --no-install playwright test --retries 0 speed

screens: build ## take the pictures in docs/screens anew
	rm -rf docs/screens
	cd ui && ATOLL_SCREENS=../docs/screens npx --no-install playwright test pages

test-e2e: build ## real processes: crashes, full disks, other people's tools
	CGO_ENABLED=0 go test -count=1 -p 1 -timeout 25m $(E2E)

# Networks keep real time, which a busy machine does not have: a test that fails is
# played once more, and both are shown.
test-lab: build ## real networks: NATs, partitions, hostile members, crowds, other implementations
	CGO_ENABLED=0 $(GOTESTSUM) --format testname --rerun-fails=1 --rerun-fails-run-root-test --packages='$(LAB)' -- -count=1 -p 1 -timeout 25m -skip '$(UNSTEADY)'

test-long: build ## the ten-minute edge profile, Thanos, VictoriaMetrics, and long fuzzing
	-$(MAKE) others
	CGO_ENABLED=0 ATOLL_LONG=1 PATH="$(CURDIR)/bin/others:$$PATH" go test -count=1 -p 1 -timeout 60m -v $(E2E) $(LAB) ./test/thanos
	CGO_ENABLED=0 ATOLL_LONG=1 go test -count=1 -timeout 60m ./query/global
	CGO_ENABLED=0 ATOLL_TEST_VMAGENT="$(CURDIR)/bin/others" go test -count=1 -v -run TestLive ./test/vmagent
	$(MAKE) fuzz FUZZTIME=2m

others: ## build Thanos and VictoriaMetrics for the tests with them, into bin/others
	mkdir -p bin/others
	cd bench/others/thanos && CGO_ENABLED=0 go build -tags slicelabels -ldflags '-s -w' -o $(CURDIR)/bin/others/ tool
	cd bench/others/victoria && CGO_ENABLED=0 go build -ldflags '-s -w' -o $(CURDIR)/bin/others/ tool

FUZZTIME ?= 20s
fuzz: ## run every fuzz target for FUZZTIME
	@for pkg in $$(go list ./...); do \
	  for t in $$(CGO_ENABLED=0 go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$t"; CGO_ENABLED=0 go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

lint: ## golangci-lint with the repository's configuration
	CGO_ENABLED=0 go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) run ./...

bench: ## side by side with Prometheus of the same version, one run
	cd bench && CGO_ENABLED=0 go run .

# The page is built again where a source of it, or what its types come from, is newer.
ui: ui/dist/index.html ## build the page that the binary embeds; needs Node 20 or newer

UI_SOURCES := $(shell git ls-files --cached --others --exclude-standard ui portal/openapi)
ui/dist/index.html: ui/node_modules/.package-lock.json $(UI_SOURCES)
	CGO_ENABLED=0 go run ./portal/openapi/print > ui/src/api/openapi.json
	cd ui && npm run --silent api && npm run --silent build

ui/node_modules/.package-lock.json: ui/package-lock.json
	cd ui && npm ci --no-progress --loglevel=error
	@touch $@

test-ui: ui ## the page's own tests: types, lint, logic
	cd ui && npm run --silent lint && npm test --silent

generate: ## run go generate
	go generate ./...

clean: ## remove what was built
	rm -rf bin dist cover.out ui/node_modules ui/src/api/openapi.json ui/src/api/schema.d.ts
	find ui/dist -mindepth 1 ! -name .gitkeep -delete
