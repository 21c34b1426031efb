"""Bills of materials in the words of others: CycloneDX and package URLs. Needs the extra `sbom`; no agent has it."""
