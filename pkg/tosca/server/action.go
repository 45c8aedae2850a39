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

// action is what tells /run and /delete apart.
type action struct {
	name string
	// verb is XOS's word in the answer: "Created models: ['a']".
	verb string
	plan func(ctx context.Context, u *upload.Uploader, nodes []*tosca.Node) (*upload.Plan, tosca.Errors, error)
}

var (
	run = action{name: "run", verb: "Created", plan: func(ctx context.Context, u *upload.Uploader, nodes []*tosca.Node) (*upload.Plan, tosca.Errors, error) {
		return u.Plan(ctx, nodes)
	}}
	remove = action{name: "delete", verb: "Deleted", plan: func(ctx context.Context, u *upload.Uploader, nodes []*tosca.Node) (*upload.Plan, tosca.Errors, error) {
		return u.PlanDelete(ctx, nodes)
	}}
)

// maxWait is below the request timeout of Knative Serving (300 s), so that the answer still gets out.
const maxWait = 4 * time.Minute

// arguments are the query of a request.
type arguments struct {
	namespace string
	dryRun    bool
	wait      time.Duration
}

// arguments refuses what it does not know: who mistypes dry-run must not find out by a changed system.
func (s *server) arguments(q url.Values) (arguments, error) {
	args := arguments{namespace: s.Namespace}
	for _, key := range slices.Sorted(maps.Keys(q)) {
		value := q.Get(key)
		var err error
		switch key {
		case "namespace":
			args.namespace = value
		case "dry-run":
			// `?dry-run` alone can only mean yes.
			args.dryRun = true
			if value != "" {
				args.dryRun, err = strconv.ParseBool(value)
			}
			if err != nil {
				return args, badRequest(tosca.InvalidArgument, fmt.Sprintf("dry-run is %q; expected true or false", value))
			}
		case "wait":
			args.wait, err = time.ParseDuration(value)
			if err != nil || args.wait < 0 || args.wait > maxWait {
				return args, badRequest(tosca.InvalidArgument, fmt.Sprintf("wait is %q; expected a time such as 30s, at most %s", value, maxWait))
			}
		default:
			return args, badRequest(tosca.InvalidArgument, fmt.Sprintf("parameter %q is not known; known are: dry-run, namespace, wait", key))
		}
	}
	if problems := validation.IsDNS1123Label(args.namespace); len(problems) > 0 {
		return args, badRequest(tosca.InvalidArgument, fmt.Sprintf("namespace is %q: %s", args.namespace, strings.Join(problems, "; ")))
	}
	return args, nil
}
