# The bill of materials by SPDX 2.3: the image, the Debian packages that its files come from, and the crates that the
# router's programs link. Reads lines of `packages_of_root`; see bom.sh.

def spdx_id($kind; $name; $version): "SPDXRef-\($kind)-\("\($name)-\($version)" | gsub("[^A-Za-z0-9.-]"; "-"))";
def uri: gsub("\\+"; "%2B") | gsub(":"; "%3A") | gsub("~"; "%7E");
# crates.io has old manifests that separate two licences by a slash, and the list of SPDX knows no "or later" of the MPL.
def licence: if . == null or . == "" then "NOASSERTION" else gsub("\\s*/\\s*"; " OR ") | gsub("MPL-2.0\\+"; "MPL-2.0") end;

($metadata[0] | .resolve.root as $root | .packages[] | select(.id == $root)) as $router
| [inputs | split(" ") | {kind: .[0], name: .[1], version: .[2], source: .[3], digest: .[4]}] as $materials
| ($materials | map({
    SPDXID: spdx_id(.kind; .name; .version), name, versionInfo: .version,
    supplier: "Organization: Debian", sourceInfo: "Debian source package \(.source)",
    downloadLocation: "NOASSERTION", filesAnalyzed: false,
    checksums: [{algorithm: "SHA256", checksumValue: .digest}],
    licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION",
    licenseComments: "See licences.tar.zst: debian/\(.name)",
    externalRefs: [{
      referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
      referenceLocator: "pkg:deb/debian/\(.name)@\(.version | uri)?distro=bookworm"
    }]
  })) as $debian
| ($crates[0] | map({
    SPDXID: spdx_id("crate"; .name; .version), name, versionInfo: .version,
    downloadLocation: "https://crates.io/api/v1/crates/\(.name)/\(.version)/download", filesAnalyzed: false,
    licenseConcluded: "NOASSERTION", licenseDeclared: (.license | licence), copyrightText: "NOASSERTION",
    licenseComments: "Its manifest says \(.license // "nothing")",
    externalRefs: [{
      referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
      referenceLocator: "pkg:cargo/\(.name)@\(.version | uri)"
    }]
  })) as $linked
| {
    SPDXID: "SPDXRef-vrouter", name: "vrouter", versionInfo: $router.version, downloadLocation: "NOASSERTION", filesAnalyzed: false,
    licenseConcluded: $router.license, licenseDeclared: $router.license, copyrightText: "NOASSERTION"
  } as $own
| {
    SPDXID: "SPDXRef-image", name: "vrouter-image", versionInfo: $router.version, downloadLocation: "NOASSERTION", filesAnalyzed: false,
    licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION"
  } as $image
| {
    spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: "vrouter-\($router.version)",
    documentNamespace: "https://spdx.org/spdxdocs/vrouter-\($router.version)-\($content)",
    creationInfo: {created: $created, creators: ["Tool: vrouter-image-build"]},
    packages: ([$image, $own] + $debian + $linked),
    relationships: (
      [{spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: "SPDXRef-image"}]
      + [([$own] + $debian)[] | {spdxElementId: "SPDXRef-image", relationshipType: "CONTAINS", relatedSpdxElement: .SPDXID}]
      + [$linked[] | {spdxElementId: "SPDXRef-vrouter", relationshipType: "STATIC_LINK", relatedSpdxElement: .SPDXID}]
    )
  }
