package generate

import (
	"errors"
	"fmt"
	"go/doc"
	"strings"

	"golang.org/x/tools/go/packages"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
	"sigs.k8s.io/controller-tools/pkg/rbac"
)

// What a function needs and its registrations do not say stands in markers, anywhere in its package:
//
//	// +kubebuilder:rbac:groups=dns.example.com,resources=zones,verbs=get;list
//	// +synchronizer:env:name=DNS_URL,value="http://dns.dns.svc.cluster.local"
//	// +synchronizer:schedule="*/5 * * * *"
//	// +synchronizer:eventtype:type=com.example.dns.changed,description="A record has changed."
const (
	markerEnv       = "synchronizer:env"
	markerSchedule  = "synchronizer:schedule"
	markerEventType = "synchronizer:eventtype"
)

// envVar is an environment variable of a function.
type envVar struct {
	Name  string
	Value string
}

// eventType describes a type of events that an event step handles.
type eventType struct {
	Type string
	// Name of the EventType. Default: made of the type.
	Name string `marker:",optional"`
	// Description is for those who look for something to subscribe to.
	Description string `marker:",optional"`
}

// marked is what a function's package says in comments.
type marked struct {
	// Doc is the first sentence of the package's doc, without "Command NAME".
	Doc        string
	Rules      []rbac.Rule
	Env        []envVar
	Schedule   string
	EventTypes []eventType
}

// readMarkers reads the markers of the programs' packages, by import path.
func (g *generator) readMarkers(paths []string) (map[string]*marked, error) {
	pkgs, err := loader.LoadRootsWithConfig(&packages.Config{Dir: g.project.dir}, paths...)
	if err != nil {
		return nil, fmt.Errorf("loading the functions: %w", err)
	}
	if err := problemsOf(pkgs); err != nil {
		return nil, err
	}
	registry := &markers.Registry{}
	err = errors.Join(
		registry.Register(rbac.RuleDefinition),
		registry.Define(markerEnv, markers.DescribesPackage, envVar{}),
		registry.Define(markerSchedule, markers.DescribesPackage, ""),
		registry.Define(markerEventType, markers.DescribesPackage, eventType{}),
	)
	if err != nil {
		return nil, err
	}
	all := map[string]*marked{}
	for _, pkg := range pkgs {
		values, err := markersIn(registry, pkg)
		if err != nil {
			return nil, err
		}
		m := &marked{Doc: docOf(pkg)}
		for _, v := range values[rbac.RuleDefinition.Name] {
			m.Rules = append(m.Rules, v.(rbac.Rule))
		}
		for _, v := range values[markerEnv] {
			m.Env = append(m.Env, v.(envVar))
		}
		for _, v := range values[markerEventType] {
			m.EventTypes = append(m.EventTypes, v.(eventType))
		}
		for _, v := range values[markerSchedule] {
			m.Schedule = v.(string)
		}
		all[pkg.PkgPath] = m
	}
	return all, nil
}

// markersIn are the markers of a package, in whatever comment they stand.
func markersIn(registry *markers.Registry, pkg *loader.Package) (markers.MarkerValues, error) {
	pkg.NeedSyntax()
	values := markers.MarkerValues{}
	var errs []error
	for _, file := range pkg.Syntax {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				text := strings.TrimSpace(strings.TrimPrefix(comment.Text, "//"))
				if !strings.HasPrefix(text, "+") {
					continue
				}
				marker := registry.Lookup(text, markers.DescribesPackage)
				if marker == nil {
					continue
				}
				value, err := marker.Parse(text)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %s: %w", pkg.PkgPath, text, err))
					continue
				}
				values[marker.Name] = append(values[marker.Name], value)
			}
		}
	}
	return values, errors.Join(errs...)
}

// docOf is what the package's doc says that the command does: "Command sync pushes the models." pushes the models.
func docOf(pkg *loader.Package) string {
	pkg.NeedSyntax()
	for _, file := range pkg.Syntax {
		if file.Doc == nil {
			continue
		}
		var p doc.Package
		words := strings.SplitN(p.Synopsis(file.Doc.Text()), " ", 3)
		if len(words) == 3 && words[0] == "Command" {
			return words[2]
		}
	}
	return "runs steps."
}
