"""What makes the documents from the code: the reference and the site. No part of the package."""
