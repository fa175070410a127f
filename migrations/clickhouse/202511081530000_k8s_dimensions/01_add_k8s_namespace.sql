-- unless: column expenses.k8s_namespace
ALTER TABLE expenses ADD COLUMN k8s_namespace Nullable(String)
