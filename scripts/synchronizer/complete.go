package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"
)

// complete completes KIND, and NAME after KIND/.
func (s *selection) complete(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	kind, _, named := strings.Cut(begun, "/")
	if !named {
		return s.kinds(begun), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	namespace, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	infos, err := resource.NewBuilder(s.flags).Unstructured().
		NamespaceParam(namespace).DefaultNamespace().ResourceTypeOrNameArgs(true, kind).Flatten().Do().Infos()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []string
	for _, info := range infos {
		if name := kind + "/" + info.Name; strings.HasPrefix(name, begun) && !slices.Contains(args, name) {
			found = append(found, name)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// kinds are the resources of the models.
func (s *selection) kinds(begun string) (found []string) {
	client, err := s.flags.ToDiscoveryClient()
	if err != nil {
		return nil
	}
	lists, _ := client.ServerPreferredResources() // What a broken API service lacks does not matter.
	for _, list := range lists {
		for _, r := range list.APIResources {
			if slices.Contains(r.Categories, category) && strings.HasPrefix(r.Name, begun) {
				found = append(found, r.Name+"/")
			}
		}
	}
	return found
}
