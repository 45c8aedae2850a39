package kubeapi

import (
	"context"
	"fmt"
	"net"
	"time"

	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	baseversion "k8s.io/component-base/version"
)

// drainTimeout is how long Stop waits for requests in flight. It always takes that long, because watches do not end by
// themselves.
const drainTimeout = 200 * time.Millisecond

// runner is what PrepareRun of the generic API server gives.
type runner interface {
	RunWithContext(ctx context.Context) error
}

// newAPIServer makes the API server. It follows the upstream Config() of CustomResourceDefinitionsServerOptions, without
// what that takes from a core API, which does not exist here.
func newAPIServer(etcdURL string, listener net.Listener, id *identity, o Options) (runner, error) {
	opts := options.NewCustomResourceDefinitionsServerOptions(sink, sink)
	opts.RecommendedOptions.Etcd.StorageConfig.Transport.ServerList = []string{etcdURL}
	serving := opts.RecommendedOptions.SecureServing
	serving.Listener = listener
	serving.ServerCert.CertKey.CertFile, serving.ServerCert.CertKey.KeyFile = id.certFile, id.keyFile

	config := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	config.EffectiveVersion = kubeVersion{compatibility.DefaultBuildEffectiveVersion()}
	if err := opts.RecommendedOptions.Etcd.ApplyTo(&config.Config); err != nil {
		return nil, fmt.Errorf("cannot configure the API server's storage: %w", err)
	}
	if err := serving.ApplyTo(&config.SecureServing, &config.LoopbackClientConfig); err != nil {
		return nil, fmt.Errorf("cannot configure the API server's port: %w", err)
	}
	if err := opts.APIEnablement.ApplyTo(&config.Config, apiserver.DefaultAPIResourceConfigSource(), apiserver.Scheme); err != nil {
		return nil, fmt.Errorf("cannot configure the API server's groups: %w", err)
	}

	authenticate(config, id, o)
	// Nothing is refused. Without a handler the server panics when an object changes whose definition is being deleted.
	config.AdmissionControl = admission.NewChainHandler()

	describe(config)
	// No core API, so nothing for informers to watch; the server only wants to start some.
	config.SharedInformerFactory = informers.NewSharedInformerFactory(fake.NewClientset(), 0)

	// The CRD server leaves discovery to an aggregator in front of it. There is none here, so /api and /apis are
	// mounted below.
	groups := aggregated.NewResourceManager("apis")
	config.AggregatedDiscoveryGroupManager = groups

	server, err := (&apiserver.Config{
		GenericConfig: config,
		ExtraConfig: apiserver.ExtraConfig{
			CRDRESTOptionsGetter: options.NewCRDRESTOptionsGetter(*opts.RecommendedOptions.Etcd, config.ResourceTransformers, config.StorageObjectCountTracker),
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, config.LoopbackClientConfig, nooptrace.NewTracerProvider()),
			MasterCount:          1,
		},
	}).Complete().New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("cannot make the API server: %w", err)
	}
	generic := server.GenericAPIServer
	generic.ShutdownTimeout = drainTimeout

	mux := generic.Handler.NonGoRestfulMux
	// The CRD server has its own, never aggregated answer there.
	mux.Unregister("/apis")
	mux.Handle("/apis", groups)
	mux.Handle("/api", aggregated.NewResourceManager("api"))
	return generic.PrepareRun(), nil
}

// describe makes the API's OpenAPI documents.
func describe(config *genericapiserver.RecommendedConfig) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(apiserver.Scheme, scheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
}

// authenticate lets in the administrator and o.Tokens and nobody else, and always allows what the administrator does:
// without an authorizer the server refuses server-side apply.
func authenticate(config *genericapiserver.RecommendedConfig, id *identity, o Options) {
	tokens := map[string]*user.DefaultInfo{
		id.token: {Name: "admin", Groups: []string{user.AllAuthenticated, user.SystemPrivilegedGroup}},
	}
	for token, name := range o.Tokens {
		tokens[token] = &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}
	}
	config.Authentication.Authenticator = authenticatorfactory.NewFromTokens(tokens, config.Authentication.APIAudiences)

	var others authorizer.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	if o.Authorizer != nil {
		others = o.Authorizer
	}
	config.Authorization.Authorizer = authorizerunion.New(
		authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), others)
}

// kubeVersion answers /version with a version that clients can parse. The one compiled into the library is a
// placeholder that Kubernetes' own build fills in.
type kubeVersion struct {
	basecompatibility.EffectiveVersion
}

// Info is what "kubectl version" shows.
func (v kubeVersion) Info() *apiversion.Info {
	info := v.EffectiveVersion.Info()
	info.GitVersion = "v" + baseversion.DefaultKubeBinaryVersion + ".0+local"
	info.GitCommit, info.GitTreeState = "", ""
	return info
}

// versionless makes c good for paths outside of any API group.
func versionless(c *rest.Config) *rest.Config {
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}
