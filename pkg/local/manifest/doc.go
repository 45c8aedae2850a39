// Package manifest reads the YAML files that are applied to a cluster, for the local runner: the same files, with the
// rules of a cluster. A field that no type has is an error, Knative's own defaults and validation are used, and what the
// runner cannot honour is refused with file, field and reason. So a file that works here means the same as on a cluster.
//
// Accepted without anything to do, because a process on one machine has no use for it: Namespaces, accounts, roles,
// network policies, disruption budgets, ConfigMaps that nobody reads, EventTypes; inside pods resources, security
// contexts, scheduling, liveness and startup probes. Everything else that is not honoured is refused.
//
// The steps are: load.go finds and decodes, check.go defaults and validates, join.go puts the core and its synchronizers
// together and refuses what does not fit, program.go turns a container into what a process needs, resolve.go finds out
// where events are to be sent.
package manifest
