/** One requirement of the seed documents. `covered`: a test cites it, and would fail if the behaviour were gone. */
export interface Requirement {
  readonly id: string;
  readonly status: 'covered' | 'planned';
  readonly text: string;
}

/*
 * One line each: id, status, text. `npm run requirements -- --update` turns `planned` into `covered` where a test cites
 * the id; a covered id without a citation makes the report fail.
 */
const MANIFEST = `
# S0: tiered rate limits and cost control
R0-01 covered Classify each request by MCP endpoint: 'tools/call', 'resources/read', 'prompts/get', 'server/initialize', 'server/ping', otherwise 'unknown'
R0-02 covered Base per-minute limits: tools/call 30, resources/read 60, prompts/get 20, server/initialize 10, server/ping 1000
R0-03 covered Any unlisted endpoint gets the 'unknown' limit, 30 per minute
R0-04 covered Three tiers exist: basic, standard, premium
R0-05 covered Basic tier: tools 30/min, resources 60/min, prompts 20/min, burst allowance 10
R0-06 covered Standard tier: tools 150/min, resources 300/min, prompts 100/min, burst allowance 50
R0-07 covered Premium tier: tools 500/min, resources 1000/min, prompts 300/min, burst allowance 200
R0-08 covered The burst allowance admits that many extra calls in a spike, after which calls are denied until refill
R0-09 covered 'protected_endpoints' is configurable; default is the five named endpoints of R0-01
R0-10 covered Exhausting one endpoint's limit leaves every other endpoint of the same client usable
R0-11 covered Basic cost limits: 1.00 USD per request, 50 per hour, 500 per day
R0-12 covered Standard cost limits: 5.00 per request, 200 per hour, 2000 per day
R0-13 covered Premium cost limits: 25.00 per request, 800 per hour, 8000 per day
R0-14 covered Deny when 'estimated_cost' is above the tier's per-request limit; equal is allowed
R0-15 covered Deny when the hour's accumulated cost plus the estimate would pass the hourly limit
R0-16 covered Deny when the day's accumulated cost plus the estimate would pass the daily limit
R0-17 covered Configurable 'cost_controls': 'max_tool_execution_cost' 1.0, 'max_hourly_cost' 50.0, 'max_daily_cost' 500.0 USD
R0-18 covered 'emergency_stop_threshold' 1000.0 USD total cost: once reached, further spending calls stop
R0-19 covered Hourly and daily cost counters reset by themselves when the hour or day changes
R0-20 covered Cost tracking is per client, and clients cannot spend from each other's budget
R0-21 covered Client tiers and cost histories survive a restart
R0-22 covered Missing, unreadable or corrupt state falls back to empty state without failing the call
R0-23 covered State location is configurable; production must not use a shared temp directory (the seed's default is a pickle file there)
R0-24 covered A state file that cannot be written is reported and does not break decisions
R0-25 covered State encryption at rest is available for production
R0-26 covered Inactive clients are cleaned up periodically
R0-27 covered Large state can be stored compressed
R0-28 covered Frequently used client records are cached in memory
R0-29 covered Storage sits behind a backend-agnostic interface (file now, Redis for distributed use) with a migration path
R0-30 covered 'check_mcp_limit' accepts 'client_id', 'endpoint', 'estimated_cost', 'tier'
R0-31 covered Allowed answer: 'status:"success"', 'allowed:true', 'operation', 'metadata{client_tier, endpoint, estimated_cost, endpoint_limit}'
R0-32 covered The seed's own example (standard tier, tools/call, cost 2.5) is allowed and reports 'endpoint_limit' 30
R0-33 covered Denied answer carries 'allowed:false' and a machine-readable 'reason'
R0-34 covered 'set_client_tier' answers 'status', 'operation', 'client_id', 'tier', and message 'Client tier set to <tier>'
R0-35 covered 'get_mcp_statistics' with client id 'anonymous' returns global rate and cost statistics
R0-36 covered 'get_mcp_statistics' with any other client id returns only that client's statistics
R0-37 covered 'scan' and 'security_scan' operations answer in a shape a security orchestrator can consume
R0-38 covered 'get_status' returns health and operational status
R0-39 covered An unknown operation or tier yields a structured error, never an exception
R0-40 covered All operations require 'client_id' for tracking and authorization
R0-41 covered Every response includes its processing time, usable as an audit figure
R0-42 covered Input may come from 'ctx', from 'cfg', or from both; both routes give the same result
R0-43 covered Decision order: rate limit, cost check, tier validation, allow/deny; state updates after the limit step and statistics after the decision
R0-44 covered New operations can be added through a registry, with documentation and tests
R0-45 covered CLI: list/verify the component, run it with defaults, and run any operation with '--input '<json>''
R0-46 covered MCP-server guard: check before processing; a missing 'allowed' counts as denied; error body has 'error:"Rate limit exceeded"' plus 'reason'
R0-47 covered HTTP middleware: client id extracted from the request, endpoint is lower-case method plus path, cost 1.0, denial is HTTP 429 'Rate limit exceeded'
R0-48 covered Tier upgrade helper returns true only on success; usage helper returns a client's statistics
R0-49 covered At least 23 functional tests, 100% passing
R0-50 covered At least 14 security-hardening tests, 100% passing
R0-51 covered Input is validated and sanitised on every operation
R0-52 covered Oversized or flooding input cannot exhaust memory or time
R0-53 covered Client isolation: no operation reveals or changes another client's data
R0-54 covered Timing-attack resistance: secret comparisons and known/unknown client paths do not leak by timing
R0-55 covered A full MCP request envelope (nested original request with 'params') is accepted and unwrapped
R0-56 planned Every operation finishes in under 25 ms
R0-57 planned With a high client count every operation finishes in under 100 ms
R0-58 covered Recovery from a corrupt state file takes under 500 ms
R0-59 planned At least 1000 operations per second
R0-60 covered Under 10 MB of memory for 1000 active clients
R0-61 covered Storage grows linearly with client count
R0-62 covered Rate limiting holds under flood (DDoS) and cost-abuse traffic
R0-63 covered HTTPS for all MCP communication; robust client id authentication
R0-64 planned Statistics make anomalous patterns visible; real-time monitoring of statistics and health
R0-65 covered Debug logging can be switched on
R0-66 covered Limits can be loosened by configuration or by tier upgrade without code changes
R0-67 covered Troubleshooting guide covers state permissions, cost tracking not enforced, limits too strict, memory use
R0-68 planned Component metadata: name, version 1.0.0, category, MIT licence, dependencies
R0-69 covered Batch limit checks in one call
R0-70 covered Asynchronous operation API (v1.2)
R0-71 covered Redis backend (v1.1) with connection pooling
R0-72 covered Distributed state management across instances
R0-73 covered High-availability configuration
R0-74 planned Adaptive limits from client behaviour
R0-75 planned ML-based anomaly detection (v2.0)
R0-76 planned Geographic rate limiting
R0-77 planned Multi-tenant support
R0-78 planned Advanced analytics dashboard (v2.0)
R0-79 planned Custom rate-limiting rules engine
R0-80 planned Kubernetes integration
R0-81 planned Prometheus metrics export
R0-82 planned GraphQL rate limiting
R0-83 planned Backward-compatible API; deprecated features marked and kept for at least 2 major versions
# S1: MCP proxy
R1-01 covered Route tools by name pattern, resources by URI pattern, prompts by name pattern
R1-02 covered Wildcards: 'math_*' matches 'math_add' and 'math_subtract'; 'data://*' matches any such URI; exact names match exactly
R1-03 covered A default/catch-all route takes requests no pattern matches
R1-04 covered Routes have priority and a defined matching order
R1-05 covered A request with no route gets a clear "no route" error
R1-06 covered One proxy serves several upstreams at once (math, data, admin in the examples)
R1-07 covered Any MCP server can be an upstream
R1-08 covered JWT authentication, HS256
R1-09 covered JWT authentication, RS256
R1-10 covered Bearer-token authentication
R1-11 covered Multi-auth: methods are tried in order until one succeeds
R1-12 covered Client id is taken from the token automatically
R1-13 covered Scopes are taken from JWT claims
R1-14 covered Global rate limit (API example: 1000 requests per 60000 ms)
R1-15 covered Per-client rate limit
R1-16 covered Per-tool rate limit
R1-17 covered Per-route rate-limit override
R1-18 covered Three algorithms: token bucket, sliding window, fixed window
R1-19 covered Scope-based authorization with per-route 'required_scope'
R1-20 covered Wildcard scope matching
R1-21 covered Auth, rate limit and authorization all run before anything reaches an upstream
R1-22 planned Auth, rate limiting and circuit breaker can each be switched on or off at construction
R1-23 covered One connection pool per upstream, safe under concurrency
R1-24 covered Idle connections are reused; active ones are tracked; unhealthy ones are dropped
R1-25 covered Pool size limit and connect timeout are enforced
R1-26 covered Connections come from a factory keyed by transport type
R1-27 covered STDIO upstream transport (subprocess management)
R1-28 covered HTTP upstream transport
R1-29 planned WebSocket upstream transport
R1-30 planned Circuit breaker disables a failing upstream automatically and lets it back later
R1-31 planned Automatic retry with exponential backoff
R1-32 planned Failover to a backup upstream
R1-33 covered Request timeout enforcement
R1-34 planned Automatic health monitoring of each upstream
R1-35 covered Pluggable transformer interface for requests and for responses, registered by name
R1-36 covered Metadata transformer adds request id, client id and proxy name
R1-37 covered Sanitising transformer redacts configured fields (passwords, API keys)
R1-38 planned Caching transformer adds cache-control data
R1-39 covered Custom transformers need no change to the core
R1-40 planned Request counts: total, successful, failed, retried
R1-41 planned Latency: minimum, maximum, average
R1-42 planned Request count per upstream
R1-43 planned Request count per tool
R1-44 planned Success rate
R1-45 planned Circuit-breaker state per upstream
R1-46 planned Proxy object: construct with name and flags, 'add_upstream', 'add_route', 'set_jwt_auth', 'set_rate_limit', 'add_request_transformer', 'add_response_transformer', 'run(transport)'
R1-47 covered Typed configuration for upstreams (name, transport type, command, args), routes and statistics; helper factories for transformers
R1-48 covered The proxy itself serves over STDIO
R1-49 covered Runnable examples: full proxy, math, data and admin upstreams, and a client
R1-50 planned Guide covering usage, configuration, security, transformation, troubleshooting, API, performance tuning
R1-51 planned Integration tests for routing, security, pooling, circuit breaker, transformations, statistics
R1-52 covered Modular separation of routing, security, pooling and transformation
R1-53 planned Route matching under 0.1 µs
R1-54 covered Auth check (JWT) under 1 µs
R1-55 planned Rate-limit check under 0.05 µs
R1-56 planned Connection acquire/release under 0.01 µs
R1-57 planned One transformation under 0.1 µs
R1-58 planned Circuit-breaker check under 0.01 µs
R1-59 planned Total proxy overhead under 2 µs per request, upstream latency excluded
R1-60 planned 100 times faster than a pure-Python proxy. **** (seed: expected once native bindings exist)
R1-61 planned Native core bindings (the seed's proxy still runs in the scripting language)
R1-62 covered HTTP server transport for the proxy itself
R1-63 planned Caching layer
R1-64 planned Advanced failover strategies
R1-65 planned Distributed tracing
R1-66 planned Metrics export (Prometheus and others)
R1-67 covered Performance benchmarking
R1-68 planned Advanced load-balancing algorithms
R1-69 planned Service-mesh integration
R1-70 planned Kubernetes operator
R1-71 planned Multi-datacenter routing
R1-72 planned Request replay for debugging
# S2: keys, tools, cache, fallback, audit
R2-01 covered Integration service registers tools, invokes them with authentication, and validates responses ('register_tools', 'invoke_tool', 'handle_response')
R2-02 covered Key manager encrypts, stores, validates (format and permissions) and rotates keys, and handles expiry ('encrypt_key', 'store_key', 'validate_key', 'rotate_key')
R2-03 planned Caching service: 'get_cached_data', 'set_cache', 'invalidate_cache'; a miss is handled gracefully
R2-04 planned Fallback service: 'handle_fallback', 'retry_with_backoff', 'offline_mode'
R2-05 planned Audit service: 'log_operation', 'track_usage' (usage and cost), 'generate_report'
R2-06 planned Separate encrypted key, tool definition and audit log entities, with schema migrations
R2-07 covered 'POST /api-keys' takes provider, api_key, user_id; answers '{success, message}'; JWT required and user ownership checked
R2-08 covered 'GET /api-keys/providers' answers '{providers:[{name, features}]}'; JWT required
R2-09 covered 'POST /mcp/tools/invoke' takes tool_name, parameters, user_id; answers '{result, success, cached}'; JWT required and permissions checked
R2-10 planned 'GET /audit/logs' answers '{logs, total_count, pagination}'; JWT or admin required
R2-11 planned Health-check endpoints
R2-12 covered Keys encrypted with AES-256-GCM
R2-13 covered Master key held in an HSM or secure vault
R2-14 covered Encrypted keys live in PostgreSQL with additional obfuscation
R2-15 planned Role-based access control (user, admin) with audit trail on key access
R2-16 covered JWT with expiry and refresh; validation on the server
R2-17 covered Rate limits per user and per API provider
R2-18 covered Secure session management
R2-19 covered TLS 1.3 for all external traffic, with secure protocol negotiation (no downgrade)
R2-20 covered Certificate validation with pinning
R2-21 covered Security headers and CORS configuration
R2-22 covered Keys never appear in responses, logs or client-side code
R2-23 planned L1 in-memory cache
R2-24 planned L2 Redis cache, shared between instances
R2-25 planned TTL-based policy with sliding expiration
R2-26 planned Cached things: successful API responses, user preferences, provider metadata, validation results
R2-27 planned Invalidation by time
R2-28 planned Invalidation by event, on data change
R2-29 planned Manual invalidation by an admin
R2-30 planned Conditional invalidation when a threshold changes
R2-31 planned Service unavailable: offline mode with limited function, cached data where possible, core function kept, retries with exponential backoff
R2-32 planned Quotas are tracked per provider; users are warned near the limit
R2-33 planned Over quota: enforce the quota, throttle frequency and suggest alternatives
R2-34 covered Auth failure: several attempts, key refresh where possible, clear guidance, backup authentication keys
R2-35 planned Automatic recovery to normal operation after an outage
R2-36 planned Circuit breakers in the resilience layer
R2-37 planned Categories: authentication events, API calls, user actions, system events
R2-38 planned Record fields: UTC timestamp with millisecond precision, user id, action type, metadata, result with error details
R2-39 planned Retention periods are configurable
R2-40 planned PII and secrets are masked
R2-41 planned Access to audit logs is restricted
R2-42 planned Compliance reports can be exported
R2-43 planned All API calls and operations are audited, including key access and fallback activation
R2-44 covered Expired key: detected at validation, user told how to renew, automatic renewal attempted, other functions go on
R2-45 planned Provider outage: detected, offline mode entered, user told of limits, recovery automatic
R2-46 planned Quota exceeded: monitored, warned, throttled, alternative suggested
R2-47 planned Malformed provider response: validated, replaced by cached or default data, logged
R2-48 covered Concurrent access to one key: locks and transactions prevent races; sessions are isolated
R2-49 planned Todo tools: create, list, update, complete, delete
R2-50 planned Todo priority and due-date management
R2-51 planned Todo filtering and searching
R2-52 planned OpenAI provider
R2-53 planned Anthropic provider
R2-54 planned Provider abstraction and switching
R2-55 planned Utility tools and multi-provider tools besides todo tools
R2-56 covered Dynamic tool registration at run time
R2-57 covered Tool discovery
R2-58 covered Tool metadata and documentation
R2-59 covered Tool validation framework (schema checks on register and invoke)
R2-60 covered The official MCP SDK is used
R2-61 planned Database queries optimised; database connection pool; request batching; tool response times optimised
R2-62 planned Metrics: performance, response time, cache effectiveness, resource usage; monitoring dashboards
R2-63 planned API-key management UI, user friendly, with guided setup and help
R2-64 planned Security monitoring, security review and penetration tests
R2-65 planned At least 1000 requests per minute handled concurrently
R2-66 planned Response time under 500 ms for 95% of requests
R2-67 planned At least 50% fewer redundant API calls through caching; daily hit/miss report; compare cached with direct
R2-68 planned Memory and resource use monitored during load tests
R2-69 planned 99.9% successful authentication, alert on deviation, daily report
R2-70 planned Zero API-key exposure incidents; logs scanned automatically; immediate response
R2-71 planned 95% of users complete provider setup; completion rate tracked; friction points found
R2-72 planned 99% of users confident in security; survey and feedback collected
R2-73 planned Tests: unit (keys, tools, cache, fallback), integration (end-to-end invoke, key flow, providers, audit trail), performance, security (encryption strength, injection, auth, leakage)
R2-74 planned Load test, deployment configurations and monitoring dashboards before production
R2-75 planned Docs, guided setup flows, help
R2-76 planned Phase order of the plan: security foundation, tools/providers, cache, fallback, audit, validation
# S3: virtual-server rate limits
R3-01 covered Virtual server config carries 'rateLimiting.shared{maxTokens, refillPeriod}'
R3-02 covered Config carries 'rateLimiting.perUser{maxTokens, refillPeriod}'
R3-03 covered Per-tool limits key on the post-aggregation tool name
R3-04 covered 'rateLimiting' without Redis session storage is rejected with 'config.rateLimiting requires sessionStorage with provider 'redis''
R3-05 covered 'perUser' with anonymous incoming auth is rejected with 'config.rateLimiting.perUser requires incomingAuth.type oidc'
R3-06 covered Redis session storage without an address is rejected ('rate limiting requires Redis session storage address'); the Redis database index is configurable
R3-07 covered 'refillPeriod' accepts durations such as '1m'; the generated config shows 'duration: 1m0s'
R3-08 covered The effective generated config shows both 'sessionStorage' and 'rateLimiting'
R3-09 covered No 'rateLimiting' block means no middleware and no Redis connection
R3-10 covered Virtual server groups several backends by a group reference and aggregates their tools
R3-11 covered Token buckets in Redis: shared limit counts all users together
R3-12 covered Per-user bucket is keyed by the authenticated subject; users do not affect each other
R3-13 covered One user has one bucket across all aggregated backends of the virtual server
R3-14 covered Only parsed 'tools/call' requests consume tokens; other methods pass
R3-15 covered The limit key is the parsed resource id (tool name)
R3-16 covered Order: incoming auth, MCP parsing, rate limit, then audit and discovery
R3-17 covered Rejected call returns HTTP 429 with a JSON-RPC error body (one wire contract, one owner module)
R3-18 covered With 'maxTokens: 1' and one user, the second authenticated 'tools/call' within the period is rejected
R3-19 covered Redis error at request time: fail open (allow)
R3-20 covered Redis is pinged at startup with a 5 s timeout; failure is a startup error naming the address
R3-21 covered Redis connection is closed by a cleanup function at shutdown, and on any constructor failure
R3-22 covered Redis password comes from an environment variable, never from the config file
R3-23 planned A typed, value-returning middleware builder exists; the older runner-style entry point only wraps it
R3-24 planned A virtual-server factory returns (middleware, cleanup, error) and is the only place that validates storage
R3-25 planned Server config takes the built middleware as one field
R3-26 covered Namespace comes from an environment variable ('VMCP_NAMESPACE') and defaults to 'local' (stated only in the review of an earlier revision)
R3-27 planned Optimizer mode: for the 'call_tool' meta-tool the limit applies to the inner tool name
R3-28 covered Audit sees only requests that passed the limiter, or records the denial itself
R3-29 planned Kubernetes resources: virtual server, MCP server, group; Redis deployment; readiness observable through status phase
R3-30 planned Service exposure configurable (NodePort in the manual test)
R3-31 planned Admission-time validation gives the same errors as runtime validation
R3-32 planned Unit tests: typed builder, runner wrapper, storage validation, per-user shared bucket, post-aggregation names
R3-33 covered End-to-end test: Redis, parameterised OIDC server, one backend, 'perUser.maxTokens=1', two calls, second rejected
R3-34 planned Test resources are uniquely named and cleaned up automatically
R3-35 planned Manual test script: six steps from admission checks to cleanup, reproducible locally
# S4: remote session limiter and audit export
R4-01 covered Rate limiting applies per remote session
R4-02 covered Fixed-window algorithm
R4-03 covered With a limit of 2, two requests pass and the third is denied
R4-04 covered The count resets after the window passes
R4-05 covered A decision object reports allowed/denied and retry time
R4-06 covered Clock is injectable, so tests are deterministic
R4-07 planned Audit exporter appends compact JSONL, one record per line, append-only
R4-08 planned Audit records never contain secrets (tokens, JWTs, payloads)
R4-09 planned Disabled exporter does nothing and creates no file
R4-10 covered Default settings: rate limiting enabled, with default request count and window; audit disabled, with a default path
R4-11 planned Metrics collector has 'record_rate_limit_denial(session_id)', safe when metrics are off
R4-12 covered Existing production auth validation is unchanged by the new settings
R4-13 covered A request guard returns the session id when allowed
R4-14 covered The guard raises a rate-limit error for excess session requests
R4-15 planned The guard audits auth-denied, allowed and rate-limited outcomes
R4-16 covered Both the SSE route ('/sse') and the message route ('/messages/') go through the guard
R4-17 covered STDIO behaviour is unchanged: no limiter or audit there
R4-18 planned The limiter and the exporter live in one focused remote-security module
R4-19 planned Docs describe session-first limiting, JSONL export, no secret capture, and the process-local limitation
R4-20 planned Docs updated: security, runbook, configuration, contributor guide
R4-21 planned Tests are written first and shown failing, then passing; lint and the non-integration suite pass
`;

/** Every requirement, in the order of the documents. */
export const requirements: readonly Requirement[] = MANIFEST.split('\n')
  .filter((line) => line.startsWith('R'))
  .map((line) => {
    const [id = '', status = '', ...words] = line.split(' ');
    if (status !== 'covered' && status !== 'planned') throw new Error(`${id}: status is covered or planned: ${line}`);
    return { id, status, text: words.join(' ') };
  });
