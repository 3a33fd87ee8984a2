# SPDX-License-Identifier: Apache-2.0
"""What the documentation as a site (mkdocs.yml) is made of, beside its pages."""
