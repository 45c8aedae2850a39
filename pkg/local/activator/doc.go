// Package activator runs a Knative Service as one local process that runs only when it is needed. It does for one Service
// what activator, queue-proxy and autoscaler do together on a cluster:
//
//   - the first request starts the process and is held until the process is ready;
//   - at most containerConcurrency requests are in it at a time, others wait;
//   - a request that takes longer than timeoutSeconds is answered 504;
//   - without a request for the window the process is asked to end;
//   - when it dies, its requests get 502, and the next request starts it again.
package activator
