package collect

// The service discoveries that are linked. Upstream registers each in the
// init of its package, so a blank import is the only door; that is why they
// all stand in this one file. docs say what each weighs, and why those in
// UnlinkedDiscoveries are left out.
import (
	_ "github.com/prometheus/prometheus/discovery/aws"        // ec2, ecs, elasticache, lightsail, msk, rds
	_ "github.com/prometheus/prometheus/discovery/azure"      //
	_ "github.com/prometheus/prometheus/discovery/consul"     //
	_ "github.com/prometheus/prometheus/discovery/dns"        //
	_ "github.com/prometheus/prometheus/discovery/eureka"     //
	_ "github.com/prometheus/prometheus/discovery/file"       //
	_ "github.com/prometheus/prometheus/discovery/gce"        //
	_ "github.com/prometheus/prometheus/discovery/hetzner"    //
	_ "github.com/prometheus/prometheus/discovery/http"       //
	_ "github.com/prometheus/prometheus/discovery/ionos"      //
	_ "github.com/prometheus/prometheus/discovery/kubernetes" //
	_ "github.com/prometheus/prometheus/discovery/marathon"   //
	_ "github.com/prometheus/prometheus/discovery/moby"       // docker, dockerswarm
	_ "github.com/prometheus/prometheus/discovery/nomad"      //
	_ "github.com/prometheus/prometheus/discovery/openstack"  //
	_ "github.com/prometheus/prometheus/discovery/ovhcloud"   //
	_ "github.com/prometheus/prometheus/discovery/puppetdb"   //
	_ "github.com/prometheus/prometheus/discovery/scaleway"   //
	_ "github.com/prometheus/prometheus/discovery/stackit"    //
	_ "github.com/prometheus/prometheus/discovery/triton"     //
	_ "github.com/prometheus/prometheus/discovery/uyuni"      //
	_ "github.com/prometheus/prometheus/discovery/vultr"      //
	_ "github.com/prometheus/prometheus/discovery/zookeeper"  // serverset, nerve
)

// UnlinkedDiscoveries returns the keys of the service discoveries that
// Prometheus has and this binary has not, in alphabetical order. The upstream
// parser calls them unknown fields; with this list the reader can be told that
// the key is right and the discovery is absent.
func UnlinkedDiscoveries() []string {
	return []string{
		"digitalocean_sd_configs",
		"kuma_sd_configs",
		"linode_sd_configs",
		"oci_sd_configs",
		"outscale_sd_configs",
	}
}
