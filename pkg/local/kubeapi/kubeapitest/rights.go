package kubeapitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
)

// Rights is an Authorizer (kubeapi.Options) that allows all users what the roles
// of YAML files allow, in every namespace: with it a program under test has no
// more rights than on a cluster.
type Rights struct {
	// mu protects following.
	mu    sync.Mutex
	rules []rbacv1.PolicyRule
}

// Grant adds the rules of all Roles and ClusterRoles of the files.
func (r *Rights) Grant(files ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range files {
		rules, err := rulesOf(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		r.rules = append(r.rules, rules...)
	}
	return nil
}

func rulesOf(file string) (rules []rbacv1.PolicyRule, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	documents := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var role rbacv1.ClusterRole
		if err := documents.Decode(&role); errors.Is(err, io.EOF) {
			return rules, nil
		} else if err != nil {
			return nil, err
		}
		if role.Kind == "Role" || role.Kind == "ClusterRole" {
			rules = append(rules, role.Rules...)
		}
	}
}

// Authorize implements authorizer.Authorizer.
func (r *Rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	resource := a.GetResource()
	if a.GetSubresource() != "" {
		resource += "/" + a.GetSubresource()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	allowed := slices.ContainsFunc(r.rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, a.GetAPIGroup()) && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, a.GetVerb())
	})
	if !allowed {
		return authorizer.DecisionNoOpinion, "no role allows it", nil
	}
	return authorizer.DecisionAllow, "", nil
}

// Kubeconfig is the API's kubeconfig (kubeapi.Server.Kubeconfig) for one of its Tokens.
func Kubeconfig(s *kubeapi.Server, token string) ([]byte, error) {
	raw, err := s.Kubeconfig()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.Load(raw)
	if err != nil {
		return nil, err
	}
	for _, user := range config.AuthInfos {
		user.Token = token
	}
	return clientcmd.Write(*config)
}
