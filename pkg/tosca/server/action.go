package server

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

// action is what is different between /run and /delete.
type action struct {
	name string
	// verb is XOS's word in the answer: "Created models: ['a']".
	verb string
	plan func(u *upload.Uploader, ctx context.Context, nodes []*tosca.Node) (*upload.Plan, tosca.Errors, error)
}

var (
	run    = action{name: "run", verb: "Created", plan: (*upload.Uploader).Plan}
	remove = action{name: "delete", verb: "Deleted", plan: (*upload.Uploader).PlanDelete}
)

// maxWait is below the request timeout of Knative Serving (300 s), so that the answer still gets
// out.
const maxWait = 4 * time.Minute

// arguments are the query of a request.
type arguments struct {
	// namespace is empty if the request does not say.
	namespace string
	dryRun    bool
	wait      time.Duration
}

// parseArguments refuses what it does not know: who mistypes dry-run must not find out by a changed
// system.
func parseArguments(query string) (arguments, error) {
	var args arguments
	q, err := url.ParseQuery(query)
	if err != nil {
		return args, badRequest(tosca.InvalidArgument, "query: "+err.Error())
	}
	for _, key := range slices.Sorted(maps.Keys(q)) {
		if n := len(q[key]); n > 1 {
			return args, badRequest(tosca.InvalidArgument, fmt.Sprintf("parameter %.50q: expected once, got %d times", key, n))
		}
		var err error
		switch value := q.Get(key); key {
		case "namespace":
			args.namespace, err = namespace(value)
		case "dry-run":
			args.dryRun, err = dryRun(value)
		case "wait":
			args.wait, err = waitTime(value)
		default:
			err = badRequest(tosca.InvalidArgument, fmt.Sprintf("parameter %q is not known; known are: dry-run, namespace, wait", key))
		}
		if err != nil {
			return args, err
		}
	}
	return args, nil
}

func namespace(value string) (string, error) {
	if problems := validation.IsDNS1123Label(value); len(problems) > 0 {
		return "", badRequest(tosca.InvalidArgument, fmt.Sprintf("namespace is %q: %s", value, strings.Join(problems, "; ")))
	}
	return value, nil
}

// dryRun takes `?dry-run` alone for yes: it can mean nothing else.
func dryRun(value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	dry, err := strconv.ParseBool(value)
	if err != nil {
		return false, badRequest(tosca.InvalidArgument, fmt.Sprintf("dry-run is %q; expected true or false", value))
	}
	return dry, nil
}

func waitTime(value string) (time.Duration, error) {
	wait, err := time.ParseDuration(value)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, badRequest(tosca.InvalidArgument, fmt.Sprintf("wait is %q; expected a time such as 30s, at most %s", value, maxWait))
	}
	return wait, nil
}
