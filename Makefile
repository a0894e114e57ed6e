# What a developer types. CI runs the same commands, see .ci/run.

engine := deploy/engine/engine
# This machine's, for tests that go from one Engine to the other.
other_engine := $(or $(DOCKER_HOST),unix:///var/run/docker.sock)
# A unix socket's path is short, so the second engine lives here.
engine_dir ?= /tmp/holdfast-engine

# The packages whose tests meet a real Engine.
on_engine := ./worker ./internal/helper ./internal/docker

# Of these, those that bring an Engine of their own.
brings_engine := ^(TestVerify|TestCrash|TestCrashWithTwoSinks|TestSinkComesBack|TestKillAtRandomMoments|TestCancelAtRandomMoments|TestPruneKilled|TestCopyKilled|TestCopyFaults|TestPruneOneSinkByTwo|TestGuard|TestFaults|TestEngineFaults|TestRemoteEngine|TestPodman|TestRestoreFaults|TestAReplacementThatDoesNotRunIsUndone|TestNotReached)$$

# And those in which the Engine's version and store make no difference, or, with the most layers of an image, are not meant.
any_engine := TestBadInput|TestSIGTERM|TestCtrlC|TestDeadLetters|TestHosts|TestBackupAllHosts|TestBackupOfAnUnservedHost|TestCancelSays|TestInterruptedDemo|TestFleet|TestWhereModesMeanNothing|TestCompose|TestProxy|TestScripts/(catalogue|config|export|help|keys|labels|layers|missing|names|prune|secrets|serve|server|sink)$$

# What was measured with the second engine.
bench_other := /tmp/holdfast-bench-other.json

# They find what nobody thought of, and take long: make crash runs them.
random := ^(TestKillAtRandomMoments|TestCancelAtRandomMoments)$$

.PHONY: build test test-containerd crash fuzz lint bench bench-load

build: ## a static program in dist/
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.version=$(VERSION)" -o dist/holdfast ./worker

# The program's own tests take as long as all the others, and wait for most of it, so they are begun first, and the other
# packages run beside them one after the other: a test of faults should not share the machine with all others.
test: ## all tests but those of random moments, on this machine's Docker Engine
	go test -race -run '^$$' ./... >/dev/null
	go test -race -p 2 -timeout 50m -skip '$(random)' ./worker ./...

test-containerd: ## the main job's tests on a current Engine with the containerd store; as root
	go test -race -run '^$$' $(on_engine)
	$(engine) run $(engine_dir) -- $(engine) exec $(engine_dir) -- \
		env OTHER_DOCKER_HOST=$(other_engine) go test -race -count=1 -timeout 40m -skip '$(brings_engine)|$(any_engine)' $(on_engine)

crash: ## a worker is killed after every step of every kind of job, and at 30 random moments of each, and jobs are cancelled
	go test -race -count=1 -timeout 90m -run '^(TestCrash|TestPruneKilled|TestCopyKilled)$$|$(random)' -v ./worker -args -thorough -kills 30

fuzz: ## every fuzz test for half a minute
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s $$pkg || exit 1; \
		done; \
	done

lint: ## dependency rules and checks, see .golangci.yml
	golangci-lint run

bench: ## holdfast beside docker commit, save and zstd, on both kinds of image store, as a report in Markdown; as root
	@$(engine) run $(engine_dir) -- $(engine) exec $(engine_dir) -- go run ./internal/bench/compare -json >$(bench_other)
	@go run ./internal/bench/compare -beside $(bench_other); status=$$?; rm -f $(bench_other); exit $$status

bench-load: ## holdfast under load: one worker, 200 simulated hosts, takeovers, a fleet at rest
	go run ./internal/bench/load
